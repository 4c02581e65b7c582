"""Objects by size from the scores that test runs and confirmation runs wrote."""

from collections.abc import Iterable

from harness.core import files
from harness.core.errors import DataError
from harness.core.paths import StudyPaths, TrialPaths
from harness.evaluation.held_out.ledger import HeldOutTest, LedgerFinish
from harness.evaluation.held_out.object_scores import SizeClassCounts, sum_object_columns
from harness.training.metrics.image_scores import ImageScores, read_scores


def read_test_scores(paths: StudyPaths, test: HeldOutTest) -> ImageScores | None:
    """Scores of a test run; None if they are missing or damaged, or were changed since."""
    path = paths.test_run(test.number).scores_csv
    if not isinstance(test.end, LedgerFinish) or not path.is_file():
        return None
    # A file that was changed since does not belong to the results of the ledger.
    if files.file_sha256(path) != test.end.scores_sha256:
        return None
    try:
        return read_scores(path)
    except DataError:
        return None


def read_test_objects(paths: StudyPaths, test: HeldOutTest) -> list[SizeClassCounts]:
    """Objects by size of a test run; [] without scores, or if an earlier version wrote them."""
    scores = read_test_scores(paths, test)
    return [] if scores is None else sum_object_columns(scores.extra_columns)


def read_native_objects(trials: Iterable[TrialPaths]) -> list[list[SizeClassCounts]]:
    """Objects by size in the validation images of each trial that was measured at native size.

    Raises:
        DataError: scores are damaged.
    """
    tables = (
        sum_object_columns(read_scores(trial.native_size_csv).extra_columns)
        for trial in trials
        if trial.native_size_csv.is_file()
    )
    return [table for table in tables if table]
