"""Copy the results of held-out tests to MLflow; apart from the test, which needs no MLflow.

They are metrics of the study's own run, with the number of the test run as step.
"""

from collections.abc import Iterator

from harness.config.progress import ProgressReporter
from harness.config.study_files import read_study_config
from harness.core.errors import HarnessError
from harness.core.paths import StudyPaths, Workspace
from harness.evaluation.held_out.ledger import (
    TEST_SPLIT,
    HeldOutLedger,
    HeldOutResult,
    HeldOutTest,
    read_held_out_ledger,
)
from harness.tracking.fields import StudyMetric, to_milliseconds
from harness.tracking.uri import resolve_tracking_store


def mirror_held_out_tests(
    workspace: Workspace, paths: StudyPaths, progress: ProgressReporter
) -> None:
    """Copy the numbers of all test runs, and the ledger, if the study is in MLflow.

    A failure is only reported: the ledger on disk is the record.
    """
    from harness.tracking.sync import log_study_metrics  # noqa: PLC0415  # imports mlflow

    try:
        config = read_study_config(paths)
        tracker = resolve_tracking_store(workspace, paths, str(config.id))
        # A local database that does not exist would be created by connecting to it.
        if tracker.database is None or tracker.database.exists():
            log_study_metrics(
                tracker, paths, config, list(ledger_metrics(read_held_out_ledger(paths)))
            )
    except HarnessError as error:
        progress.stage(f"the test is not in MLflow: {error}")


def ledger_metrics(ledger: HeldOutLedger) -> Iterator[StudyMetric]:
    """Results over all images with the limits of their intervals, and Dice and IoU by class."""
    for test in ledger.tests:
        for result in test.results:
            if (
                # Strata stay in the ledger: MLflow refuses the "%" of "size 1-5 %" in a name.
                result.stratum
                or result.value is None
                or (result.of and not _has_class_metrics(result))
            ):
                continue
            key = _metric_key(test, result)
            metrics = {key: result.value, f"{key}_low": result.low, f"{key}_high": result.high}
            # The recorded time, not the present one: MLflow stores a metric once per key, time,
            # step and value, so a repeated copy adds nothing.
            for name, value in metrics.items():
                if value is not None:
                    yield StudyMetric(name, value, to_milliseconds(test.start.at) or 0, test.number)


def _has_class_metrics(result: HeldOutResult) -> bool:
    return result.metric in ("dice", "iou") and result.meaning == "image"


def _metric_key(test: HeldOutTest, result: HeldOutResult) -> str:
    """`test/dice`, `test/dice_pixels_chosen`, `test/iou_cleaned`, `test/on/<name>/dice/<class>`."""
    name = test.start.data.name
    parts = [result.metric]
    if result.meaning != "image":
        parts.append(result.meaning)
    if result.at in ("chosen", "cleaned"):
        parts.append(result.at)
    prefix = "test" if name == TEST_SPLIT else f"test/on/{name}"
    key = f"{prefix}/{'_'.join(parts)}"
    return f"{key}/{result.of}" if result.of else key
