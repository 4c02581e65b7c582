"""Sentences and table rows about the best metrics that a training size allows."""

import math

from harness.core.text import count
from harness.data.scan.size_ceiling import MAX_SIDE, NOTABLE_LOSS, CeilingTable, SizeCeiling
from harness.inspection.findings import Finding

CEILING_COLUMNS = ("training size", "fit", "best Dice", "best object F1")
_TILE_STEP = 32  # most networks need sides that are multiples of it
_TILE_SIDES = (128, 1024)
# Images of at most this side, in px, or of this many times the side of the training size, are
# better trained on as they are: a tile would show no more than a quarter or a half of them.
_MAX_WHOLE_SIDE = 512
_MAX_WHOLE_FACTOR = 2
_MAX_IMAGE_SIZE = 4096  # px, the limit of data.image_size


def ceiling_rows(table: CeilingTable) -> list[tuple[str, str, str, str]]:
    """Cells of a table with a row for each training size, in the order of CEILING_COLUMNS."""
    return [
        (
            f"{ceiling.height} x {ceiling.width}",
            ceiling.fit,
            f"{ceiling.dice:.3f}",
            "–" if ceiling.object_f1 is None else f"{ceiling.object_f1:.3f}",
        )
        for ceiling in table.ceilings
    ]


def ceiling_meaning(table: CeilingTable) -> str:
    """Meaning of the numbers, and the sample that they come from."""
    windows = (
        f", with a window of {MAX_SIDE:,} px of {count(table.n_windows, 'very large image')}"
        if table.n_windows
        else ""
    )
    return (
        "Reached at the images' own size by a network that reproduces each training mask exactly; "
        f"objects match at an IoU above 0.5. Measured on {table.n_images} of "
        f"{count(table.n_available, 'mask')}{windows} (seed {table.seed})."
    )


def ceiling_finding(table: CeilingTable) -> Finding | None:
    """Warning about the loss at the best size.

    None if it is at most one point of Dice, or if the space draws tiles already.
    """
    best = table.best
    if best is None or table.has_tiles or 1 - best.dice <= NOTABLE_LOSS:
        return None
    return Finding("warning", "training size", _loss_text(table, best), _remedy(table, best))


def loss_sentence(table: CeilingTable) -> str | None:
    """`ceiling_finding` as one line."""
    finding = ceiling_finding(table)
    return None if finding is None else f"{finding.what}; {finding.remedy}"


def resizing_sentence(table: CeilingTable) -> str | None:
    """`loss_sentence` without the ceiling, for use after it."""
    best = table.best
    if best is None or ceiling_finding(table) is None:
        return None
    return f"{_resizing_text(table, best)}; {_remedy(table, best)}"


def _remedy(table: CeilingTable, best: SizeCeiling) -> str:
    native = math.ceil(table.longest_side / _TILE_STEP) * _TILE_STEP
    largest = max(_MAX_WHOLE_SIDE, _MAX_WHOLE_FACTOR * max(best.height, best.width))
    if table.longest_side <= largest and native <= _MAX_IMAGE_SIZE:
        return f"train at native size: data.image_size: {native}"
    return f"train on windows at native size instead: data.tile.size: {tile_side(best)}"


def tile_side(best: SizeCeiling) -> int:
    """Side of windows with about as many pixels as a training size: a step then costs as much."""
    low, high = _TILE_SIDES
    side = round(math.sqrt(best.height * best.width) / _TILE_STEP) * _TILE_STEP
    return min(max(side, low), high)


def _loss_text(table: CeilingTable, best: SizeCeiling) -> str:
    among = "" if len(table.ceilings) == 1 else ", the best of these sizes,"
    objects = "" if best.object_f1 is None else f" and object F1 {best.object_f1:.3f}"
    return (
        f"at {best.height} x {best.width} px{among} a perfect network reaches Dice "
        f"{best.dice:.3f}{objects}: {_resizing_text(table, best)}"
    )


def _resizing_text(table: CeilingTable, best: SizeCeiling) -> str:
    return (
        f"images of up to {table.longest_side:,} px lose {100 * (1 - best.dice):.1f} points of "
        "Dice to their resizing"
    )
