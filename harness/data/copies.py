"""Pictures that were stored more than once: frozen video frames, re-encoded files."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Array8 = NDArray[np.uint8]
Thumbnail = NDArray[np.float32]

_SIDE: Final = 48
_SHARE: Final = 0.96  # of a thumbnail that must agree: a clock burnt into the frame may differ
# Remaining difference, as a share of the variance. On Kvasir-SEG the three frozen frames measure
# 0.00003 to 0.00006, neighbouring frames of one video 0.008 and the nearest strangers 0.05.
_MOST_DIFFERENCE: Final = 0.001
_LEAST_CORRELATION: Final = 0.9  # frozen frames with other clocks: above 0.9998
_BLOCK: Final = 512
_MOST_PICTURES: Final = 20_000  # every pair is compared; beyond, only equal pixels are found


def thumbnail(image: Array8) -> Thumbnail:
    """What is kept of an image uint8 (H, W, 3) to compare it: float32 (48 * 48,), mean 0."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)  # rounding again would count
    flat = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).ravel()
    return np.asarray(flat - flat.mean(), np.float32)


def group_copies(pixels: Sequence[Hashable], thumbnails: Sequence[Thumbnail]) -> list[int]:
    """For each picture, the index of the first that shows the same.

    The same are equal pixels, and frames that differ by encoding or a burnt-in clock only. Frames
    that merely follow each other in a video are not.

    Args:
        pixels: per picture, a hash of its pixels.
        thumbnails: per picture, its `thumbnail`.
    """
    first: dict[Hashable, int] = {}
    leader = [first.setdefault(one, index) for index, one in enumerate(pixels)]
    for one, other in _alike(thumbnails):
        low, high = sorted((leader[one], leader[other]))
        if low != high:
            leader = [low if index == high else index for index in leader]
    return leader


def _alike(thumbnails: Sequence[Thumbnail]) -> Iterator[tuple[int, int]]:
    if not 1 < len(thumbnails) <= _MOST_PICTURES:
        return
    table = np.stack(thumbnails)
    length = np.linalg.norm(table, axis=1, keepdims=True)
    unit = table / np.maximum(length, 1e-6)  # a picture of one colour correlates with none
    for start in range(0, len(table), _BLOCK):
        correlation = unit[start : start + _BLOCK] @ unit.T
        for row, other in zip(*np.nonzero(correlation > _LEAST_CORRELATION), strict=True):
            one = start + int(row)
            if one < other and _difference(table[one], table[other]) < _MOST_DIFFERENCE:
                yield one, int(other)


def _difference(one: Thumbnail, other: Thumbnail) -> float:
    """Mean square difference of the parts that agree best, relative to the smaller variance."""
    kept = np.sort(np.abs(one - other))[: int(_SHARE * len(one))]
    return float(np.mean(kept**2) / max(min(one.var(), other.var()), 1e-6))
