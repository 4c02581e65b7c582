"""Command `harness lr-find`: range test of the learning rate, drawn in one line."""

from pathlib import Path
from typing import Annotated

import typer

from harness import api
from harness.cli.arguments import api_arguments
from harness.cli.download_prompt import retry_after_download
from harness.cli.options import (
    SEARCH,
    DataOption,
    DeviceOption,
    PartsOption,
    SetOption,
    SkipBadOption,
    WorkspaceOption,
    option,
)

RANGE = "Range test"
_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60

BaseStudyOption = Annotated[
    str | None,
    option(
        "Use data, split and fixed values of this study.",
        example="--study encoders",
        panel=SEARCH,
        default="no study",
        metavar="NAME",
    ),
]
LowOption = Annotated[
    float,
    option("First learning rate.", example="--low 1e-5", panel=RANGE, default="1e-6"),
]
HighOption = Annotated[
    float,
    option(
        "Last learning rate, unless the loss diverges.",
        example="--high 1",
        panel=RANGE,
        default="10",
    ),
]
StepsOption = Annotated[
    int,
    option(
        "Number of training steps between the two.",
        example="--steps 200",
        panel=RANGE,
        default="100",
    ),
]
SeedOption = Annotated[
    int,
    option(
        "Seed of weights, order and augmentation.",
        example="--seed 1",
        panel=RANGE,
        default="0",
        min=0,
    ),
]
NameOption = Annotated[
    str | None,
    option(
        "Name of the folder in lr-find/.",
        example="--name sgd",
        panel=RANGE,
        default="the time",
        metavar="NAME",
    ),
]


def lr_find(
    data: DataOption = None,
    set_: SetOption = None,
    study: BaseStudyOption = None,
    low: LowOption = 1e-6,
    high: HighOption = 10.0,
    steps: StepsOption = 100,
    seed: SeedOption = 0,
    name: NameOption = None,
    skip_bad: SkipBadOption = False,
    parts: PartsOption = None,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = Path(),
) -> None:
    """Train while the learning rate rises, to find the rates that are worth searching.

    Example: harness lr-find --data kvasir-seg --set model.arch=Unet --set optim.name=sgd
    """
    arguments = api_arguments(locals())
    result = retry_after_download(
        lambda progress: api.find_lr(**arguments, progress=progress), workspace
    )
    typer.echo("\n".join(format_result(result)))


def format_result(result: api.LearningRates) -> list[str]:
    """Lines to print: the curve, the suggested rates, and lines to paste into a space."""
    rates, losses = result.points["lr"].tolist(), result.points["smoothed"].tolist()
    lines = []
    if rates:
        lines += [f"loss {sparkline(losses)}", f"lr   {rates[0]:.0e} … {rates[-1]:.0e}"]
    if result.steepest is None or result.lowest is None:
        lines += [
            "the loss never fell, so no rate is suggested; try other --low and --high, or more "
            "--steps"
        ]
    else:
        lines += [
            f"steepest fall {result.steepest:.1e} · a tenth of the lowest {result.lowest / 10:.1e}"
            f" · lowest loss {result.lowest:.1e}",
            "for a space:",
            *(f"  {line}" for line in result.lines),
        ]
    return [*lines, f"curve: {result.page}"]


def sparkline(values: list[float]) -> str:
    """Draw values as bars of eight heights, at most 60 of them, evenly sampled.

    The range ends at the highest value before the lowest one: a loss that explodes at the highest
    rates would otherwise flatten the fall, which is what the curve is for.
    """
    # -(-a // b) is the quotient rounded up: rounded down, 119 values would give 119 bars.
    sampled = values[:: max(1, -(-len(values) // _WIDTH))]
    low = min(sampled)
    high = max(sampled[: sampled.index(low) + 1])
    high = max(sampled) if high == low else high  # a loss that only rises has no fall to show
    # All values equal: division by zero.
    span = (high - low) or 1.0
    heights = (min(1.0, (value - low) / span) for value in sampled)
    return "".join(_BARS[round(height * (len(_BARS) - 1))] for height in heights)
