"""Where the leading models contradict one another, and where all of them contradict the truth."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from harness.report.choosing import Chosen

Bools = NDArray[np.bool_]

N_DISPUTED = 2
N_SUSPECT = 3
WRONG = 0.5  # Dice below which a decision is called wrong
GOOD = 0.8  # median Dice above which a model may accuse a label
MIN_GOOD = 3  # models that must agree


def disagreement(decisions: Sequence[Bools]) -> float:
    """The mean of 1 - IoU over all pairs of decisions, in [0, 1].

    Args:
        decisions: at least two of shape (K, H, W), one plane for each class. A pair's IoU is the
            mean over the classes that either of the two finds; where both find nothing, they agree.
    """
    return float(np.mean([_apart(one, other) for one, other in combinations(decisions, 2)]))


def _apart(one: Bools, other: Bools) -> float:
    both = (one & other).sum(axis=(1, 2))
    either = (one | other).sum(axis=(1, 2))
    found = either > 0
    return float(np.mean(1 - both[found] / either[found])) if found.any() else 0.0


def disputed(apart: Mapping[int, float], n_models: int, n: int = N_DISPUTED) -> list[Chosen]:
    """The rows with the greatest disagreement, greatest first; rows without any are none.

    Args:
        apart: `disagreement` of each row.
        n_models: how many models were compared.
    """
    rows = sorted((row for row in apart if apart[row] > 0), key=lambda row: (-apart[row], row))
    text = f"the {n_models} leading models disagree: mean 1 − IoU between them"
    return [Chosen(row, f"{text} {apart[row]:.2f}") for row in rows[:n]]


def suspects(
    dice: Mapping[int, Sequence[float | None]],
    false_pixels: Mapping[int, Sequence[int]],
    n: int = N_SUSPECT,
) -> list[Chosen]:
    """Rows that every good model gets wrong, the worst first: their labels deserve a look.

    Wrong is a Dice below WRONG, or something found where the truth has nothing. Good is a model
    whose median Dice over the rows is above GOOD; with fewer than MIN_GOOD of them no label is
    suspected, as weak models are wrong about exact masks as well.

    Args:
        dice: of the same models for each row, in [0, 1]; None where there is nothing to find.
        false_pixels: of the same models.
    """
    good = _good(dice)
    if len(good) < MIN_GOOD:
        return []
    found: dict[int, tuple[float, str]] = {}
    for row in dice:
        values = [dice[row][k] for k in good]
        known = [value for value in values if value is not None]
        if known and max(known) < WRONG:
            text = f"all {len(known)} models get it wrong, the best with Dice {max(known):.2f}"
            found[row] = (max(known), f"suspect label: {text}")
        elif not known and min(false_pixels[row][k] for k in good) > 0:
            text = f"nothing to find, yet all {len(good)} models find something"
            found[row] = (WRONG, f"suspect label: {text}")
    rows = sorted(found, key=lambda row: (found[row][0], row))
    return [Chosen(row, found[row][1]) for row in rows[:n]]


def _good(dice: Mapping[int, Sequence[float | None]]) -> list[int]:
    """Places of the models whose median Dice is above GOOD."""
    columns = [[v for v in column if v is not None] for column in zip(*dice.values(), strict=True)]
    return [k for k, column in enumerate(columns) if column and np.median(column) > GOOD]
