"""Report of a study, as `Study.report` offers it."""

from pathlib import Path

from harness.config.progress import LineProgress
from harness.config.study_files import read_study_config
from harness.core.errors import HarnessError
from harness.core.paths import StudyPaths, Workspace
from harness.core.study_lock import is_study_locked
from harness.report.analysis.image_values import interval_metrics
from harness.report.page.page import write_report
from harness.report.tables.study_tables import load_study_tables
from harness.tracking.uri import resolve_tracking_store


def write_study_report(
    paths: StudyPaths,
    workspace: Workspace,
    data_root: Path | None,
    *,
    images: bool,
    baseline: str | None,
) -> Path:
    """Implement `Study.report`: write the report, then copy it to MLflow.

    Args:
        data_root: folder of the images; None: they are not shown.
    """
    baseline_paths = None if baseline is None else workspace.study(baseline)
    path = write_report(paths, data_root, images=images, baseline=baseline_paths)
    # After writing: the report on disk is complete whether or not MLflow answers.
    _mirror_report(paths, workspace)
    return path


def _mirror_report(paths: StudyPaths, workspace: Workspace) -> None:
    """Copy the report to MLflow where that is safe; a failure is a message, not an error."""
    config = read_study_config(paths)
    tracking_store = resolve_tracking_store(workspace, paths, str(config.id))
    # A running study mirrors itself; a report must not create the workspace's mlflow.db either.
    absent = tracking_store.database is not None and not tracking_store.database.exists()
    if absent or is_study_locked(paths):
        return
    from harness.tracking.sync import log_report  # noqa: PLC0415  # imports mlflow

    try:
        log_report(tracking_store, paths, config, interval_metrics(load_study_tables(paths)))
    except HarnessError as error:
        LineProgress().stage(f"the report is not in MLflow: {error}")
