"""Copy of a confirmation's result into MLflow, by `confirm`, `sync` and `restore`."""

from harness.config.study_files import read_study_config
from harness.core.paths import StudyPaths, Workspace
from harness.evaluation.confirm.load_confirmation import (
    build_champion,
    build_entries,
    load_confirmation,
)
from harness.tracking.uri import resolve_tracking_store


def mirror_confirmation(
    paths: StudyPaths, workspace: Workspace, *, uri: str | None, experiment: str | None
) -> None:
    """Register the confirmed model in MLflow; do nothing before a model is confirmed.

    Raises:
        UserError, TrackingError: MLflow cannot be reached, or did not accept everything.
    """
    from harness.tracking.sync import log_champion  # noqa: PLC0415  # imports mlflow

    confirmation = load_confirmation(paths)
    champion = None if confirmation is None else build_champion(paths, confirmation)
    # No error: `harness sync` calls this for every study, also for those without a confirmation.
    if confirmation is None or champion is None:
        return
    # The id of the search: its store and experiment also hold the confirming trials.
    study_id = str(read_study_config(paths).id)
    tracking_store = resolve_tracking_store(
        workspace, paths, study_id, uri=uri, experiment=experiment
    )
    entries = build_entries(paths, confirmation)
    log_champion(tracking_store, paths.confirm, read_study_config(paths.confirm), champion, entries)
