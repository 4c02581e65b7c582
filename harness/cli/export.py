"""Command `harness export`: a study's network as a folder that runs without this package."""

import shlex
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from harness import api
from harness.cli.arguments import api_arguments
from harness.cli.display import open_progress
from harness.cli.options import (
    COMPUTE,
    STORAGE,
    DeployedTrialOption,
    DeviceOption,
    StudyOption,
    TrackingUriOption,
    WorkspaceOption,
    option,
)
from harness.cli.tables import stdout_console
from harness.core.errors import UserError
from harness.deploy.export.parity import DEFAULT_PARITY_IMAGES

FormatOption = Annotated[
    Literal["onnx", "torch", "openvino"],
    option(
        "Format of the network: onnx, torch (torch.export) or openvino.",
        example="--format openvino",
        panel=STORAGE,
        default="onnx",
        metavar="NAME",
    ),
]
OutOption = Annotated[
    Path,
    option(
        "Folder of the bundle; must be absent or empty.",
        "--out",
        example="--out bundle",
        panel=STORAGE,
        metavar="DIR",
    ),
]
FreeSizeOption = Annotated[
    bool,
    option(
        "Leave height and width of the graph free; refused if other sizes give other masks. The "
        "runner needs no free size: it resizes images itself.",
        "--free-size",
        panel=STORAGE,
        default="the size of the training",
    ),
]
ForceOption = Annotated[
    bool,
    option("Replace the bundle in the folder.", "--force", panel=STORAGE, default="it is kept"),
]
SamplesOption = Annotated[
    bool | None,
    option(
        "Put three validation images into the bundle (of typical, best and worst Dice), with the "
        "masks that it predicts. Check first that you may pass the images on.",
        "--samples/--no-samples",
        panel=STORAGE,
        default="only images that harness generated",
    ),
]
ParityImagesOption = Annotated[
    int,
    option(
        "Validation images on which the bundle is compared with the study.",
        example="--parity-images 100",
        panel=COMPUTE,
        default=f"{DEFAULT_PARITY_IMAGES}, or all if there are fewer",
        metavar="N",
        min=1,
    ),
]

HalfOption = Annotated[
    bool,
    option(
        "16-bit floats, with onnx: half the size.",
        "--fp16",
        example="--fp16 --tolerance 0.1",
        panel=STORAGE,
        default="32-bit floats",
    ),
]
IntegerOption = Annotated[
    bool,
    option(
        "8-bit integers, with onnx, calibrated on training images: a quarter of the size, faster.",
        "--int8",
        example="--int8 --tolerance 2",
        panel=STORAGE,
        default="32-bit floats",
    ),
]
ToleranceOption = Annotated[
    float | None,
    option(
        "Points of Dice (0.01) that --fp16 or --int8 may lose on validation images.",
        example="--tolerance 0.5",
        panel=COMPUTE,
        default="1",
        metavar="POINTS",
    ),
]


def export(
    study: StudyOption,
    out: OutOption,
    trial: DeployedTrialOption = None,
    format: FormatOption = "onnx",
    free_size: FreeSizeOption = False,
    fp16: HalfOption = False,
    int8: IntegerOption = False,
    tolerance: ToleranceOption = None,
    force: ForceOption = False,
    samples: SamplesOption = None,
    parity_images: ParityImagesOption = DEFAULT_PARITY_IMAGES,
    device: DeviceOption = "auto",
    tracking_uri: TrackingUriOption = None,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Write the chosen network as a folder that runs without this package and without PyTorch.

    Example: harness export --study encoders --out bundle
    """
    arguments = api_arguments(locals())
    if arguments.pop("fp16") and int8:
        raise UserError("--fp16 with --int8: a bundle has one precision; leave out one of the two")
    arguments.pop("int8")
    arguments["precision"] = "fp16" if fp16 else "int8" if int8 else "fp32"
    opened = api.open_study(arguments.pop("study"), workspace=arguments.pop("workspace"))
    with closing(open_progress()) as progress:
        bundle = opened.export(arguments.pop("out"), **arguments, progress=progress)
    console = stdout_console()
    console.print(escape(f"parity on {bundle.parity.sentence}"), soft_wrap=True)
    console.print(escape(f"bundle: {bundle.folder}"), soft_wrap=True)
    folder = shlex.quote(str(bundle.folder))
    # On standard error, as the progress is: the two lines above are the result.
    typer.echo(f"next: pip install -r {folder}/requirements.txt", err=True)
    typer.echo(f"      python {folder}/predict.py IMAGES --out masks", err=True)
