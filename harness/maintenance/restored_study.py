"""Entry of a restored study, whose folder is in its place, in Optuna and MLflow."""

from contextlib import suppress

from harness.config.study_files import read_study_config
from harness.core.errors import HarnessError
from harness.core.paths import StudyPaths, Workspace
from harness.core.study_lock import hold_study_lock
from harness.evaluation.confirm.mirror import mirror_confirmation
from harness.maintenance.indexes import IndexOptions, Log, read_study_id
from harness.maintenance.operations import end_operation, staging_folder
from harness.tracking.uri import resolve_tracking_store


def finish_restore(
    workspace: Workspace, paths: StudyPaths, options: IndexOptions, log: Log
) -> None:
    """Enter a study that is in its place in both indexes; takes the lock itself."""
    with hold_study_lock(paths):
        _enter_in_optuna(workspace, paths, options, log)
    try:
        _enter_in_mlflow(workspace, paths, options, log)
    except HarnessError as error:
        log(f"MLflow does not have the study yet ({error}): harness sync --study {paths.name}")
    # A command that was killed after the move has left it.
    remove_empty_parent(staging_folder(workspace, paths.name, ""))
    with hold_study_lock(paths):
        end_operation(paths)


def remove_empty_parent(staging: StudyPaths) -> None:
    """Remove the folder of all archives that are being unpacked, unless there is one."""
    with suppress(OSError):  # absent, or another archive is being unpacked
        staging.root.parent.rmdir()


def _enter_in_optuna(
    workspace: Workspace, paths: StudyPaths, options: IndexOptions, log: Log
) -> None:
    """Enter the trials in Optuna's database, unless that needs code of the study."""
    config = read_study_config(paths) if read_study_id(paths) is not None else None
    if config is None or not paths.space_yaml.is_file():
        return
    if config.parts is not None:
        log(
            f"study {paths.name} brings Python code, {paths.parts(config.parts.file)}, which every "
            "run executes: read it first; the next harness run enters its trials in Optuna"
        )
        return
    from harness.maintenance.optuna_entry import enter_study  # noqa: PLC0415  # optuna

    try:
        enter_study(workspace, paths, options, log)
    except HarnessError as error:
        log(f"Optuna does not have the study yet ({error}); the next harness run enters it")


def _enter_in_mlflow(
    workspace: Workspace, paths: StudyPaths, options: IndexOptions, log: Log
) -> None:
    if read_study_id(paths) is None:
        return
    from harness.tracking.sync import sync_study  # noqa: PLC0415  # imports mlflow

    config = read_study_config(paths)
    store = resolve_tracking_store(workspace, paths, str(config.id), uri=options.tracking_uri)
    sync_study(store, paths, config, log)
    mirror_confirmation(paths, workspace, uri=options.tracking_uri, experiment=None)
