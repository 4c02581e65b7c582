"""Connected objects of a mask, and those that vanish at the size of the metrics."""

from collections.abc import Callable, Iterator
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.data.files.resize import Size, resize_truth

Array8 = NDArray[np.uint8]


_MAX_CHECKED_AREA = 4.0  # pixels at eval_size; a larger object cannot fall between sampled pixels


def count_mask_objects(mask: Array8, data: StudyDataConfig) -> tuple[tuple[int, ...], int]:
    """Connected objects (8 neighbours) of each scored class, and how many vanish at `eval_size`.

    An object vanishes if the truth that metrics compare with has no pixel of it: no network can
    find it then, and missing it costs nothing.

    Args:
        mask: decoded, (H, W) or (H, W, K).

    Returns:
        A count for each of `data.scored_classes`, and the number that vanish in all.
    """
    counts = []
    n_vanishing = 0
    for plane in scored_planes(mask, data):
        # Label 0 is the background, in n and in the first row of stats.
        n, _, stats, _ = cv2.connectedComponentsWithStats(plane, connectivity=8)
        counts.append(n - 1)
        n_vanishing += count_vanishing(
            (plane.shape[0], plane.shape[1]),
            np.asarray(stats, np.int64)[1:],
            data,
            partial(resize_truth, plane, data.eval_size, nearest=data.uses_nearest_resize),
        )
    return tuple(counts), n_vanishing


def scored_planes(mask: Array8, data: StudyDataConfig) -> Iterator[Array8]:
    """Yield a plane in {0, 1} for each scored class."""
    for index in data.scored_classes:
        plane = mask[:, :, index] if mask.ndim == 3 else (mask == index) & (mask != IGNORE_INDEX)
        yield np.ascontiguousarray(plane, np.uint8)


def count_vanishing(
    size: Size,
    stats: NDArray[np.integer],
    data: StudyDataConfig,
    make_truth: Callable[[], Array8],
) -> int:
    """Number of objects without a pixel in the truth.

    Args:
        size: height and width of the mask.
        stats: left, top, width, height and area of each object.
        make_truth: returns the plane at eval_size; called if an object may vanish.
    """
    scale_y, scale_x = (data.eval_size / side for side in size)
    small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] * scale_y * scale_x < _MAX_CHECKED_AREA)
    # Enlarging cannot lose an object; only this case is certain without resizing.
    if min(scale_y, scale_x) >= 1 or not len(small):
        return 0
    truth = make_truth()
    n_vanishing = 0
    for index in small:
        x, y, width, height, _ = stats[index]
        rows = slice(int(y * scale_y), int(np.ceil((y + height) * scale_y)))
        columns = slice(int(x * scale_x), int(np.ceil((x + width) * scale_x)))
        n_vanishing += not truth[rows, columns].any()
    return n_vanishing
