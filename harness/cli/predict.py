"""Command `harness predict`: masks of new images."""

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from harness import api
from harness.cli.arguments import api_arguments, check_name
from harness.cli.display import open_progress
from harness.cli.options import (
    SEARCH,
    STORAGE,
    DeployedTrialOption,
    DeviceOption,
    StudyOption,
    TtaOption,
    WorkspaceOption,
    option,
)
from harness.core.text import count

ENSEMBLES = ("confirmed", "best")
FilesArgument = Annotated[
    list[str],
    typer.Argument(
        help="Images, and folders that are searched with their subfolders. Example: photos/",
        metavar="FILE...",
        show_default=False,
    ),
]
OutOption = Annotated[
    Path,
    option(
        "Folder of the results; the same folder continues an interrupted run.",
        example="--out predictions/",
        panel=STORAGE,
        metavar="FOLDER",
    ),
]
EnsembleOption = Annotated[
    str | None,
    option(
        "Average the probabilities of several networks: all confirmed seeds of the choice "
        "(confirmed, also if no value follows), or trials that are selected on validation images "
        "(best).",
        example="--ensemble best",
        panel=SEARCH,
        default="one network",
        metavar="[confirmed|best]",
    ),
]
ProbabilitiesOption = Annotated[
    bool,
    option(
        "Also write the probabilities, as PNG of 16 bits, one for each class.",
        "--probabilities",
        panel=STORAGE,
        default="masks only",
    ),
]
OverlaysOption = Annotated[
    bool,
    option(
        "Also draw each mask over its image.",
        "--overlays",
        panel=STORAGE,
        default="masks only",
    ),
]


class CommandClass(TyperCommand):
    """Command in which `--ensemble` may stand without its value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write `confirmed` behind an `--ensemble` that neither value follows."""
        words: list[str] = []
        for word, following in zip(args, [*args[1:], ""], strict=True):
            words.append(word)
            if word == "--":
                return super().parse_args(ctx, words + args[len(words) :])
            # Otherwise the parser would take the first file for the value.
            if word == "--ensemble" and following not in ENSEMBLES:
                words.append(ENSEMBLES[0])
        return super().parse_args(ctx, words)


def predict(
    files: FilesArgument,
    study: StudyOption,
    out: OutOption,
    trial: DeployedTrialOption = None,
    ensemble: EnsembleOption = None,
    tta: TtaOption = False,
    probabilities: ProbabilitiesOption = False,
    overlays: OverlaysOption = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = Path(),
) -> None:
    """Write the masks of new images; the same command continues where it stopped.

    Example: harness predict --study encoders photos/ --out predictions/
    """
    arguments = api_arguments(locals())
    check_name("--ensemble", "ensemble", ensemble, ENSEMBLES)
    opened = api.open_study(arguments.pop("study"), workspace=arguments.pop("workspace"))
    with closing(open_progress()) as progress:
        summary = opened.predict(arguments.pop("files"), **arguments, progress=progress)
    failed = f", {count(len(summary.failures), 'file')} failed" if summary.failures else ""
    # soft_wrap keeps the path in one piece, to be copied.
    Console(highlight=False, soft_wrap=True).print(
        f"{count(summary.n_masks, 'mask')} in {summary.out}{failed}; table: {summary.table}",
        markup=False,
    )
    if summary.failures:
        raise typer.Exit(1)
