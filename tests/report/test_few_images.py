"""The whole report where validation has hardly anything to compare; warnings are errors."""

from pathlib import Path
from typing import Any

import pytest

from harness.report.analysis.caveats import find_caveats
from harness.report.page.page import write_report
from harness.report.tables.study_tables import load_study_tables
from harness.training.metrics.image_scores import ScoreEntry, scores_from_entries, write_scores
from tests.report.studies import Builder


@pytest.mark.parametrize("metric", ["val/dice_loss", "val/miou"])
@pytest.mark.parametrize(("full", "empty"), [(1, 0), (2, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("n_trials", [1, 3])
def test_page_of_few_validation_images_comes_out(
    tmp_path: Path, metric: str, full: int, empty: int, n_trials: int
) -> None:
    """`full` images have something to find, `empty` ones have nothing."""
    objective: dict[str, Any] = {"metric": metric}
    study = Builder(tmp_path, n_images=full + empty + 2, config={"objective": objective})
    for number in range(n_trials):
        study.trial(number, [0.9, 0.5 + number / 100], {"optim.lr": 1e-4 * (number + 1)})
        entries: list[ScoreEntry] = []
        for row in study.rows[1:-1]:
            tp = 40 + number if row.row <= full else 0
            sums = (0.9 * tp, tp + 5.0, tp * 2.0)
            entries.append((row.row, row.image, 1, *sums, tp, 5, tp, 900))
        write_scores(study.paths.trial(number).scores_csv, scores_from_entries(entries))
    page = write_report(study.paths, study.data_root, images=False).read_text(encoding="utf-8")
    assert "Leading, not confirmed" in page
    said = [
        sentence
        for sentence in find_caveats(load_study_tables(study.paths))
        if "below 20 the" in sentence
    ]
    assert len(said) == (n_trials > 1)
    assert "images would be needed" not in page
