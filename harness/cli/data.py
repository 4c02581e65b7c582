"""Command group `harness data`: inspect, clean, download and synthesize data sets."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import inspect_data
from harness.cli.download_prompt import confirm_and_download
from harness.cli.options import WorkspaceOption
from harness.core.errors import ConfigError, suggest_nearest
from harness.core.paths import Workspace, expand_user_path
from harness.core.text import count as counted
from harness.data.datasets.sources import KVASIR
from harness.data.datasets.synthetic import DIFFICULTY, generate_dataset

app = typer.Typer(help="Data sets: inspect, clean, download, synthesize.", no_args_is_help=True)
app.command("inspect")(inspect_data.inspect_data)
app.command("clean")(inspect_data.clean_data)


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="kvasir-seg")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Accept the terms without a question. Default: ask.")
    ] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Download a published data set into data/, after showing its size and terms.

    Example: harness data download kvasir-seg
    """
    # A check instead of an enumeration type: typer's own
    # message would not suggest the nearest name.
    if name != KVASIR.name:
        raise ConfigError(
            f"data download {name}: unknown data set{suggest_nearest(name, [KVASIR.name])}"
        )
    confirm_and_download(KVASIR, Workspace.at(workspace), ask=not yes)


@app.command()
def synthesize(
    folder: Annotated[Path, typer.Argument(help="Folder for images/ and masks/.")],
    count: Annotated[
        int, typer.Option(min=3, max=100_000, help="Number of images. Example: --count 200")
    ] = 64,
    size: Annotated[
        int, typer.Option(min=32, max=2048, help="Height and width in pixels. Example: --size 96")
    ] = 160,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed gives the same images. Example: --seed 1")
    ] = 0,
    difficulty: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of polyps that are hard to see; 0: all are easy. Example: --difficulty 0.8",
        ),
    ] = DIFFICULTY,
) -> None:
    """Generate polyp-like images with exact masks.

    Example: harness data synthesize data/polyps --count 200
    """
    path = generate_dataset(
        expand_user_path(folder), count=count, size=size, seed=seed, difficulty=difficulty
    )
    typer.echo(f"{counted(count, 'image')} in {path}")
