"""`harness lr-find`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import api
from harness.cli.data import confirm_and_download
from harness.cli.display import open_progress
from harness.cli.run import parse_settings
from harness.core.paths import Workspace
from harness.data.datasets.known_datasets import NeedsDownloadError

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60


def lr_find(
    data: Annotated[
        str | None,
        typer.Option(help="Folder with images/ and masks/, kvasir-seg, or synthetic."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of the configuration; may be repeated."),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Take data, split and fixed values from this study.")
    ] = None,
    low: Annotated[float, typer.Option(help="First learning rate.")] = 1e-6,
    high: Annotated[float, typer.Option(help="Last learning rate, unless it diverges.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Steps of training between them.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and order.")] = 0,
    name: Annotated[
        str | None, typer.Option(help="Name of the folder in lr-find/; else the time.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out pairs that cannot be used.")
    ] = False,
    parts: Annotated[
        Path | None, typer.Option(help="Python file of your own networks and losses.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    workspace: Annotated[Path, typer.Option(help="Folder of studies and data.")] = Path(),
) -> None:
    """Train while the learning rate rises: where the loss falls is where to search.

    Example: harness lr-find --data kvasir-seg --set model.arch=Unet --set optim.name=sgd
    """
    fixed = parse_settings(set_ or [])
    progress = open_progress()

    def start() -> api.LearningRates:
        return api.find_lr(
            data=data,
            fixed=fixed,
            study=study,
            low=low,
            high=high,
            steps=steps,
            seed=seed,
            name=name,
            skip_bad=skip_bad,
            parts=parts,
            device=device,
            workspace=workspace,
            progress=progress,
        )

    try:
        result = start()
    except NeedsDownloadError as missing:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        confirm_and_download(missing.archive, Workspace.at(workspace))
        result = start()
    finally:
        progress.close()
    typer.echo("\n".join(format_result(result)))


def format_result(result: api.LearningRates) -> list[str]:
    """The curve in one line, the suggestion, and the lines to paste."""
    rates, losses = result.points["lr"].tolist(), result.points["smoothed"].tolist()
    lines = []
    if rates:
        lines += [f"loss {sparkline(losses)}", f"lr   {rates[0]:.0e} … {rates[-1]:.0e}"]
    if result.steepest is None or result.lowest is None:
        lines += ["the loss never fell: no suggestion; try other --low and --high, or more --steps"]
    else:
        lines += [
            f"steepest fall {result.steepest:.1e} · a tenth of the lowest {result.lowest / 10:.1e}"
            f" · lowest loss {result.lowest:.1e}",
            "for a space:",
            *(f"  {line}" for line in result.lines),
        ]
    return [*lines, f"curve: {result.page}"]


def sparkline(values: list[float]) -> str:
    """Values as bars of eight heights, of many every so many-th; cut where they grow beyond."""
    sampled = values[:: max(1, -(-len(values) // _WIDTH))]
    low = min(sampled)
    high = max(sampled[: sampled.index(low) + 1])
    high = max(sampled) if high == low else high
    span = (high - low) or 1.0
    heights = (min(1.0, (value - low) / span) for value in sampled)
    return "".join(_BARS[round(height * (len(_BARS) - 1))] for height in heights)
