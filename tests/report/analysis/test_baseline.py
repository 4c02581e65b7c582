from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.core.errors import ConfigError
from harness.data.splits.split_file import read_split, write_split
from harness.report.analysis.baseline import compare_with_baseline
from harness.report.tables.study_tables import StudyTables, load_study_tables
from harness.training.metrics.image_scores import scores_from_entries, write_scores
from tests.report.studies import Builder


def scored(study: Builder, losses: dict[int, float]) -> StudyTables:
    """One complete trial; the soft Dice loss of each row: 1 - (2 py + 1) / (p + y + 1)."""
    study.trial(0, [float(np.mean(list(losses.values())))])
    names = {row.row: row.image for row in study.rows}
    entries = [
        (row, names[row], 1, ((1 - loss) * 201 - 1) / 2, 100.0, 100.0, 90, 10, 10, 914)
        for row, loss in losses.items()
    ]
    write_scores(study.paths.trial(0).scores_csv, scores_from_entries(entries))
    return load_study_tables(study.paths)


def test_the_difference_is_over_shared_images_only(tmp_path: Path) -> None:
    ours = scored(Builder(tmp_path, "new"), {row: 0.1 + 0.01 * row for row in range(1, 9)})
    theirs = scored(Builder(tmp_path, "old"), {row: 0.2 + 0.02 * row for row in range(1, 9)})
    path = theirs.paths.split_csv
    rows = read_split(path)
    # row 8 is validated in one study only, row 7 has another mask
    changed = [replace(r, role="train") if r.row == 8 else r for r in rows]
    changed = [replace(r, mask_sha256="f" * 64) if r.row == 7 else r for r in changed]
    write_split(path, changed)
    found = compare_with_baseline(ours, theirs)
    differences = [0.1 + 0.01 * row - 0.2 - 0.02 * row for row in range(1, 7)]
    assert found.test.n == 6
    assert found.test.difference == pytest.approx(np.mean(differences))
    exact = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert found.test.p == pytest.approx(exact.pvalue)
    assert (found.mean, found.other_mean) == pytest.approx((0.135, 0.27))
    assert "these weights on these images: on the 6 validation images" in found.sentence
    assert "fewer than 50 images, too few for an interval" in found.sentence


def test_studies_of_other_things_are_refused_with_every_reason(tmp_path: Path) -> None:
    ours = scored(Builder(tmp_path, "new"), {1: 0.1})
    config = {"objective": {"metric": "val/iou"}}
    theirs = scored(Builder(tmp_path, "old", config=config, eval_size=64), {1: 0.1})
    with pytest.raises(ConfigError) as refused:
        compare_with_baseline(ours, theirs)
    text = str(refused.value)
    assert "its objective is val/iou, but that of new is val/dice_loss; their values cannot" in text
    assert "its direction is maximize" in text and "its data.eval_size is 64" in text


def test_without_a_shared_image_it_says_so(tmp_path: Path) -> None:
    ours = scored(Builder(tmp_path, "new"), {1: 0.1})
    theirs = scored(Builder(tmp_path, "old"), {1: 0.1})
    rows = read_split(theirs.paths.split_csv)
    moved = [replace(r, image=r.image.replace("p0", "q0")) for r in rows]
    write_split(theirs.paths.split_csv, moved)
    with pytest.raises(ConfigError, match="0 validation images in common with new"):
        compare_with_baseline(ours, theirs)


def test_a_study_with_nothing_complete_cannot_be_a_baseline(tmp_path: Path) -> None:
    ours = scored(Builder(tmp_path, "new"), {1: 0.1})
    empty = load_study_tables(Builder(tmp_path, "old").paths)
    with pytest.raises(ConfigError, match="study old has no complete trial"):
        compare_with_baseline(ours, empty)


def test_a_trial_without_scores_is_named(tmp_path: Path) -> None:
    ours = scored(Builder(tmp_path, "new"), {1: 0.1})
    other = Builder(tmp_path, "old")
    other.trial(0, [0.5])
    with pytest.raises(ConfigError, match=r"0000.best.scores\.csv: missing"):
        compare_with_baseline(ours, load_study_tables(other.paths))
