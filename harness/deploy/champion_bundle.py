"""Copy of an exported bundle to MLflow, where the exported weights are the confirmed choice."""

from pathlib import Path

from harness.config.progress import ProgressReporter
from harness.config.study_files import read_study_config
from harness.core.errors import HarnessError
from harness.core.study_lock import is_study_locked
from harness.deploy.deployment import Deployment
from harness.evaluation.confirm.load_confirmation import (
    build_champion,
    build_entries,
    load_confirmation,
)


def attach_to_champion(
    deployment: Deployment,
    bundle: Path,
    progress: ProgressReporter,
    *,
    precision: str = "fp32",
) -> str | None:
    """Register a bundle as `models:/<study>@champion`.

    A failure is only reported: the bundle on disk is complete without MLflow.

    Args:
        deployment: the exported weights.
        bundle: folder of the bundle.
        progress: takes one line about the version, or about the failure.
        precision: number format of the bundle; a reduced one is not registered, because the
            confirmed numbers are not its own.

    Returns:
        `models:/<name>/<version>`; None if the weights are not those of the confirmed choice, the
        study is not in MLflow, or MLflow failed.
    """
    paths = deployment.context.paths
    try:
        confirmation = load_confirmation(paths)
        champion = None if confirmation is None else build_champion(paths, confirmation)
        if confirmation is None or champion is None:
            return None
        trial = paths.confirm.trial(champion.number)
        store = deployment.context.tracking_store
        if [member.paths.root for member in deployment.weights] != [trial.root]:
            return None
        if precision != "fp32":
            progress.stage(f"the bundle is not in MLflow: {precision} is not what was confirmed")
            return None
        # Connecting would create the workspace's own database.
        if store.database is not None and not store.database.exists():
            return None
        if is_study_locked(paths):
            progress.stage("the bundle is not in MLflow: the study is running; export again later")
            return None
        from harness.tracking.sync import attach_bundle  # noqa: PLC0415  # imports mlflow

        version = attach_bundle(
            store,
            paths.confirm,
            read_study_config(paths.confirm),
            champion,
            build_entries(paths, confirmation),
            bundle,
        )
    except HarnessError as error:
        progress.stage(f"the bundle is not in MLflow: {error}")
        return None
    if version is not None:
        name = version.removeprefix("models:/").rpartition("/")[0]
        progress.stage(f"MLflow: {version} carries the bundle, also as models:/{name}@champion")
    return version
