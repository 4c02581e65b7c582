"""Export of a network of a study: implementation of `Study.export`."""

from pathlib import Path
from typing import TypedDict, Unpack

from harness.api.notebook_progress import default_progress
from harness.config.progress import ProgressReporter
from harness.core.paths import StudyPaths, Workspace
from harness.deploy.champion_bundle import attach_to_champion
from harness.deploy.deployment import DeploymentRequest, open_deployment
from harness.deploy.export.bundle import ExportedBundle, export_bundle
from harness.deploy.export.formats import ExportFormat, check_packages
from harness.deploy.export.parity import DEFAULT_PARITY_IMAGES
from harness.deploy.export.quantize import DEFAULT_TOLERANCE, Precision, check_precision
from harness.deploy.export.targets import check_target
from harness.search.definition.options import RunOptions


class ExportOptions(TypedDict, total=False):
    """Arguments of `Study.export`.

    Attributes:
        trial: number of a trial of the search; None: the confirmed choice, else the leading trial.
        format: onnx, torch or openvino.
        precision: fp32; with onnx also fp16 or int8, which are smaller and lose some Dice.
        tolerance: points of Dice (0.01) that fp16 or int8 may lose on the validation images.
        parity_images: validation images on which the bundle is compared with the study.
        free_size: leave height and width of the graph free, after a comparison at other sizes.
        force: replace a bundle in the folder.
        samples: include three validation images; None: only generated ones.
        device: auto, cpu, cuda, cuda:1 or mps; the study's side of the comparison runs on it.
        tracking_uri: as in `run_study`; the champion's model version there gets the bundle.
        progress: receives messages; None: they are printed on standard error.
    """

    trial: int | None
    format: ExportFormat
    precision: Precision
    tolerance: float
    parity_images: int
    free_size: bool
    force: bool
    samples: bool | None
    device: str
    tracking_uri: str | None
    progress: ProgressReporter | None


def export_study(
    paths: StudyPaths, workspace: Workspace, folder: Path, **options: Unpack[ExportOptions]
) -> ExportedBundle:
    """Implement `Study.export`: check the arguments, open the weights, write the bundle."""
    progress = options.get("progress") or default_progress()
    format_name, force = options.get("format", "onnx"), options.get("force", False)
    # Before weights are opened: their decision rule may need a pass over the validation images.
    check_packages(format_name)
    precision = options.get("precision", "fp32")
    tolerance = options.get("tolerance", DEFAULT_TOLERANCE)
    check_precision(precision, format_name, tolerance)
    check_target(folder, force=force)
    run_options = RunOptions.from_arguments(
        {
            "study": paths.name,
            "workspace": workspace.root,
            "device": options.get("device"),
            "tracking_uri": options.get("tracking_uri"),
        }
    )
    request = DeploymentRequest(trial=options.get("trial"))
    deployment = open_deployment(run_options, request, progress)
    chosen = DEFAULT_PARITY_IMAGES if (n := options.get("parity_images")) is None else n
    bundle = export_bundle(
        deployment,
        folder,
        format=format_name,
        precision=precision,
        tolerance=tolerance,
        parity_images=chosen,
        free_size=options.get("free_size", False),
        force=force,
        samples=options.get("samples"),
        progress=progress,
    )
    attach_to_champion(deployment, bundle.folder, progress, precision=precision)
    return bundle
