"""The connected objects of a mask, and those that metrics cannot see."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.data.files.resize import resize_truth

Array8 = NDArray[np.uint8]

_MAX_CHECKED_AREA = 4.0  # pixels at eval_size; a larger object is looked no closer at


def count_mask_objects(mask: Array8, data: StudyDataConfig) -> tuple[tuple[int, ...], int]:
    """Connected objects (8 neighbours) of each scored class, and how many vanish at `eval_size`.

    An object vanishes if no pixel of the truth that metrics compare with shows it: then no network
    can find it, and none is blamed for missing it.

    Args:
        mask: decoded, (H, W) or (H, W, K).

    Returns:
        A count for each of `data.scored_classes`, and the number that vanish in all.
    """
    counts = []
    n_vanishing = 0
    for plane in _scored_planes(mask, data):
        n, _, stats, _ = cv2.connectedComponentsWithStats(plane, connectivity=8)
        counts.append(n - 1)
        n_vanishing += _count_vanishing(plane, np.asarray(stats), data)
    return tuple(counts), n_vanishing


def _scored_planes(mask: Array8, data: StudyDataConfig) -> Iterator[Array8]:
    """A plane in {0, 1} for each scored class."""
    for index in data.scored_classes:
        plane = mask[:, :, index] if mask.ndim == 3 else (mask == index) & (mask != IGNORE_INDEX)
        yield np.ascontiguousarray(plane, np.uint8)


def _count_vanishing(plane: Array8, stats: NDArray[np.int32], data: StudyDataConfig) -> int:
    scale_y, scale_x = (data.eval_size / side for side in plane.shape)
    small = np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] * scale_y * scale_x < _MAX_CHECKED_AREA) + 1
    if min(scale_y, scale_x) >= 1 or not len(small):
        return 0
    truth = resize_truth(plane, data.eval_size, nearest=data.uses_nearest_resize)
    n_vanishing = 0
    for index in small:
        x, y, width, height, _ = stats[index]
        rows = slice(int(y * scale_y), int(np.ceil((y + height) * scale_y)))
        columns = slice(int(x * scale_x), int(np.ceil((x + width) * scale_x)))
        n_vanishing += not truth[rows, columns].any()
    return n_vanishing
