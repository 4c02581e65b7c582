"""Prediction of new images by the networks of a study, as `Study` offers it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from harness.api.notebook_progress import default_progress
from harness.config.progress import ProgressReporter
from harness.core.paths import StudyPaths, Workspace
from harness.deploy.deployment import DeploymentRequest, EnsembleKind, open_deployment
from harness.deploy.predict.run import PredictionRequest, PredictionSummary, predict_files
from harness.deploy.predictor import Predictor
from harness.search.definition.options import RunOptions


class PredictorOptions(TypedDict, total=False):
    """Arguments of `Study.predictor`.

    Attributes:
        trial: number of a trial of the search; None: the confirmed choice, else the leading trial.
        ensemble: "confirmed": average over all confirmed seeds of the choice; "best": over trials
            that are selected greedily on validation images; None: one network.
        tta: average over four flips of each image.
        device: auto, cpu, cuda, cuda:1 or mps.
        progress: receives messages; None: they are printed on standard error.
    """

    trial: int | None
    ensemble: EnsembleKind | None
    tta: bool
    device: str
    progress: ProgressReporter | None


def open_predictor(
    paths: StudyPaths, workspace: Workspace, **options: Unpack[PredictorOptions]
) -> Predictor:
    """Implement `Study.predictor`."""
    request = DeploymentRequest(
        options.get("trial"), options.get("ensemble"), options.get("tta", False)
    )
    run_options = RunOptions.from_arguments(
        {"study": paths.name, "workspace": workspace.root, "device": options.get("device")}
    )
    progress = options.get("progress") or default_progress()
    return Predictor(open_deployment(run_options, request, progress))


def predict_into(
    paths: StudyPaths,
    workspace: Workspace,
    files: Sequence[str | Path],
    out: str | Path,
    *,
    probabilities: bool,
    overlays: bool,
    **options: Unpack[PredictorOptions],
) -> PredictionSummary:
    """Implement `Study.predict`."""
    progress = options.get("progress") or default_progress()
    return predict_files(
        lambda: open_predictor(paths, workspace, **options),
        PredictionRequest(files, out, probabilities, overlays),
        progress,
    )
