"""Where the leading models contradict one another, and where all of them contradict the truth."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from harness.report.predictions.image_selection import ImageSelection

Bools = NDArray[np.bool_]

N_DISPUTED = 2
N_SUSPECT = 3
WRONG_DICE = 0.5  # Dice below which a decision is called wrong
GOOD_DICE = 0.8  # median Dice above which a model may accuse a label
MIN_GOOD_MODELS = 3  # models that must agree


def mean_disagreement(decisions: Sequence[Bools]) -> float:
    """The mean of 1 - IoU over all pairs of decisions, in [0, 1].

    Args:
        decisions: at least two of shape (K, H, W), one plane for each class. A pair's IoU is the
            mean over the classes that either of the two finds; where both find nothing, they agree.
    """
    return float(
        np.mean([_pair_disagreement(first, second) for first, second in combinations(decisions, 2)])
    )


def _pair_disagreement(first: Bools, second: Bools) -> float:
    intersection = (first & second).sum(axis=(1, 2))
    union = (first | second).sum(axis=(1, 2))
    present = union > 0
    return float(np.mean(1 - intersection[present] / union[present])) if present.any() else 0.0


def find_disputed_images(
    disagreements: Mapping[int, float], n_models: int, n: int = N_DISPUTED
) -> list[ImageSelection]:
    """The rows with the greatest disagreement, greatest first; rows without any are none.

    Args:
        disagreements: `mean_disagreement` of each row.
        n_models: how many models were compared.
    """
    rows = sorted(
        (row for row in disagreements if disagreements[row] > 0),
        key=lambda row: (-disagreements[row], row),
    )
    text = f"the {n_models} leading models disagree: mean 1 − IoU between them"
    return [ImageSelection(row, f"{text} {disagreements[row]:.2f}") for row in rows[:n]]


def find_suspect_labels(
    dice: Mapping[int, Sequence[float | None]],
    false_pixels: Mapping[int, Sequence[int]],
    n: int = N_SUSPECT,
) -> list[ImageSelection]:
    """Rows that every good model gets wrong, the worst first: their labels deserve a look.

    Wrong is a Dice below WRONG, or something found where the truth has nothing. Good is a model
    whose median Dice over the rows is above GOOD; with fewer than MIN_GOOD of them no label is
    suspected, as weak models are wrong about exact masks as well.

    Args:
        dice: of the same models for each row, in [0, 1]; None where there is nothing to find.
        false_pixels: of the same models.
    """
    good_models = _find_good_models(dice)
    if len(good_models) < MIN_GOOD_MODELS:
        return []
    reasons: dict[int, tuple[float, str]] = {}
    for row in dice:
        values = [dice[row][k] for k in good_models]
        scores = [value for value in values if value is not None]
        if scores and max(scores) < WRONG_DICE:
            text = f"all {len(scores)} models get it wrong, the best with Dice {max(scores):.2f}"
            reasons[row] = (max(scores), f"suspect label: {text}")
        elif not scores and min(false_pixels[row][k] for k in good_models) > 0:
            text = f"nothing to find, yet all {len(good_models)} models find something"
            reasons[row] = (WRONG_DICE, f"suspect label: {text}")
    rows = sorted(reasons, key=lambda row: (reasons[row][0], row))
    return [ImageSelection(row, reasons[row][1]) for row in rows[:n]]


def _find_good_models(dice: Mapping[int, Sequence[float | None]]) -> list[int]:
    """Places of the models whose median Dice is above GOOD."""
    columns = [[v for v in column if v is not None] for column in zip(*dice.values(), strict=True)]
    return [k for k, column in enumerate(columns) if column and np.median(column) > GOOD_DICE]
