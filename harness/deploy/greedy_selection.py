"""Greedy selection of an ensemble, with replacement, from the best single network.

Source: Caruana et al. 2004, Ensemble selection from libraries of models.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.settings import StrictSettings

MAX_MEMBERS = 10
MIN_GAIN = 0.0005  # of Dice: half of the third decimal

Array8 = NDArray[np.uint8]


class SelectionStep(StrictSettings):
    """One member as it was added.

    Attributes:
        trial: number of the trial; it occurs again if it is given more weight.
        dice: validation Dice of the ensemble with it.
        ms_per_image: time of its network for one image, in milliseconds; 0 if it was a member.
        parameters: parameters of its network; 0 if it was a member.
    """

    trial: int
    dice: float
    ms_per_image: float
    parameters: int


@dataclass(frozen=True)
class CandidatePlanes:
    """Probabilities of the candidates on validation images, reduced to one small size.

    Attributes:
        p: uint8 (M, N, K, E, E), rint(255 p) of M candidates on N images.
        truth: uint8 (N, S, E, E) in {0, 1}, IGNORE_INDEX where no pixel counts, S scored classes.
        ms_per_image: time of each candidate, in milliseconds.
        parameters: parameters of each candidate's network.
    """

    p: Array8
    truth: Array8
    ms_per_image: tuple[float, ...]
    parameters: tuple[int, ...]


def select_greedily(
    planes: CandidatePlanes, data: StudyDataConfig, trials: Sequence[int]
) -> list[SelectionStep]:
    """Add the candidate that raises the mean Dice most, with replacement, until none does.

    The first member is the best candidate; a further one must add `MIN_GAIN`. Ties go to the
    candidate that comes first.

    Args:
        trials: number of the trial of each candidate.
    """
    total = np.zeros(planes.p.shape[1:], np.uint16)
    chosen: list[int] = []
    steps: list[SelectionStep] = []
    while len(chosen) < MAX_MEMBERS:
        scores = [
            mean_dice(total + planes.p[k], len(chosen) + 1, planes.truth, data)
            for k in range(len(planes.p))
        ]
        best = int(np.argmax(scores))
        if steps and scores[best] < steps[-1].dice + MIN_GAIN:
            break
        is_new = best not in chosen
        steps.append(
            SelectionStep(
                trial=trials[best],
                dice=scores[best],
                ms_per_image=planes.ms_per_image[best] if is_new else 0.0,
                parameters=planes.parameters[best] if is_new else 0,
            )
        )
        chosen.append(best)
        total += planes.p[best]
    return steps


def mean_dice(total: NDArray[np.uint16], n: int, truth: Array8, data: StudyDataConfig) -> float:
    """Mean over classes of the mean Dice over the images that contain the class.

    Decisions are p >= 0.5, or argmax in multiclass tasks, of the mean of `n` members.

    Args:
        total: sum of rint(255 p) over the members, (N, K, E, E).
    """
    by_class: dict[int, list[float]] = {k: [] for k in range(truth.shape[1])}
    for image, true_planes in zip(total, truth, strict=True):
        argmax = image.argmax(axis=0) if data.task == "multiclass" else None
        for k, true_plane in enumerate(true_planes):
            y = true_plane == 1
            if not y.any():
                continue
            decided = 2 * image[k].astype(np.int32) >= 255 * n if argmax is None else argmax == k
            decided &= true_plane != IGNORE_INDEX
            by_class[k].append(2 * int((decided & y).sum()) / int(decided.sum() + y.sum()))
    means = [float(np.mean(values)) for values in by_class.values() if values]
    return float(np.mean(means)) if means else 0.0
