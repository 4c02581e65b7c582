"""Scores and predictions of single images are copied with an imported trial."""

from dataclasses import replace

import pytest

from harness.core import files
from harness.core.paths import TrialPaths
from harness.data.splits.splits import SplitRow, read_split, write_split
from harness.search.imports.copy_trials import copy_imports, import_scores, match_rows
from harness.training.metrics.image_scores import metrics_per_entry, read_scores
from tests.report.studies import Builder
from tests.search.earlier import begin


@pytest.fixture
def scored(study: Builder) -> Builder:
    study.trial(0, [0.6, 0.5, 0.4, 0.45], {"loss.dice": 0.25}, skill=0.8)
    return study


def test_scores_and_predictions_come_with_the_trial(scored: Builder) -> None:
    paths, definition = begin(scored.root, [scored])
    write_split(paths.split_csv, read_split(scored.paths.split_csv))
    copy_imports(paths, definition)
    ours, theirs = paths.trial(0), scored.paths.trial(0)
    assert ours.scores_csv.read_bytes() == theirs.scores_csv.read_bytes()
    kept = {path.name: path.read_bytes() for path in theirs.probabilities.iterdir()}
    assert len(kept) == 8
    assert {path.name: path.read_bytes() for path in ours.probabilities.iterdir()} == kept


def turned(rows: list[SplitRow]) -> list[SplitRow]:
    """The same pictures in the opposite order, in another folder."""
    return [
        replace(row, row=place, image=f"copy/{row.image}", mask=f"copy/{row.mask}")
        for place, row in enumerate(reversed(rows))
    ]


def test_rows_are_found_again_by_content(scored: Builder) -> None:
    rows = turned(scored.rows)
    mapped = match_rows(scored.rows, rows)
    assert {theirs: ours.row for theirs, ours in mapped.items()} == {k: 9 - k for k in range(1, 9)}
    source, target = scored.paths.trial(0), TrialPaths(scored.root / "elsewhere")
    import_scores(source, target, mapped)
    before, after = read_scores(source.scores_csv), read_scores(target.scores_csv)
    assert after.row.tolist() == list(range(1, 9))
    assert after.image[0] == f"copy/{before.image[-1]}"
    assert (
        metrics_per_entry(after)["dice"].tolist()
        == metrics_per_entry(before)["dice"].tolist()[::-1]
    )
    assert target.probability(8, 1).read_bytes() == source.probability(1, 1).read_bytes()


def test_scores_of_an_image_that_is_not_ours_stay_behind(scored: Builder) -> None:
    mapped = match_rows(scored.rows, turned(scored.rows)[3:])
    target = TrialPaths(scored.root / "elsewhere")
    import_scores(scored.paths.trial(0), target, mapped)
    assert not target.scores_csv.exists() and not target.probabilities.exists()


def test_damaged_scores_stay_behind(scored: Builder) -> None:
    source, target = scored.paths.trial(0), TrialPaths(scored.root / "elsewhere")
    files.write_text(source.scores_csv, "not, scores\n")
    import_scores(source, target, match_rows(scored.rows, scored.rows))
    assert not target.root.exists()


def test_equal_pictures_are_taken_once_each(scored: Builder) -> None:
    row = scored.rows[1]
    twice = [row, replace(row, row=5, image="again.png")]
    mapped = match_rows(twice, twice)
    assert {k: v.row for k, v in mapped.items()} == {1: 1, 5: 5}
