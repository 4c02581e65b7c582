"""Images on which the leading models disagree, and images whose label may be wrong."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from harness.report.predictions.image_selection import ImageSelection

Bools = NDArray[np.bool_]

N_DISPUTED = 2
N_SUSPECT = 3
# Thresholds of a suspect label, strict on purpose: a reader who checks correct labels in vain stops
# checking.
WRONG_DICE = 0.5  # a prediction with a lower Dice is called wrong
GOOD_DICE = 0.8  # a model with a higher median Dice can make a label suspect
MIN_GOOD_MODELS = 3  # models that must agree


def mean_disagreement(decisions: Sequence[Bools]) -> float:
    """Mean of 1 - IoU over all pairs of predicted masks, in [0, 1].

    Args:
        decisions: at least two predicted masks (K, H, W), one plane per class. The IoU of a pair is
            the mean over the classes that at least one of the two predicts; a pair that predicts
            no foreground agrees.
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
    """Rows with the greatest disagreement above 0, greatest first.

    Args:
        disagreements: `mean_disagreement` of each row.
        n_models: number of compared models.
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
    """Rows that every good model gets wrong, the worst first; their labels should be checked.

    Wrong is a Dice below WRONG_DICE, or predicted foreground in an image without foreground. Good
    is a model whose median Dice over the rows is above GOOD_DICE. With fewer than MIN_GOOD_MODELS
    good models no label is suspect, as weak models are wrong on exact masks as well.

    Args:
        dice: of the same models for each row, in [0, 1]; None for an image without foreground.
        false_pixels: number of false positive pixels of the same models.
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
            text = f"no foreground, but all {len(good_models)} models predict some"
            reasons[row] = (WRONG_DICE, f"suspect label: {text}")
    rows = sorted(reasons, key=lambda row: (reasons[row][0], row))
    return [ImageSelection(row, reasons[row][1]) for row in rows[:n]]


def _find_good_models(dice: Mapping[int, Sequence[float | None]]) -> list[int]:
    """Indices of the models whose median Dice is above GOOD_DICE."""
    columns = [[v for v in column if v is not None] for column in zip(*dice.values(), strict=True)]
    return [k for k, column in enumerate(columns) if column and np.median(column) > GOOD_DICE]
