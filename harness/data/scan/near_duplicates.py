"""Find images stored more than once: frozen video frames, re-encoded or mirrored files."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.core.union_find import DisjointSet
from harness.data.scan.duplicate_index import Turn, indexed_pairs

Thumbnail = NDArray[np.float32] | NDArray[np.float16]

_SIDE: Final = 48
_FINE_SIDE: Final = 4 * _SIDE
_COARSE_SIDE: Final = 16
_MIN_CORRELATION: Final = 0.95  # of 16x16 pixels, the twins of Kvasir-SEG: above 0.996
_AGREEING_SHARE: Final = (
    0.96  # of a thumbnail that must agree: a clock burnt into the frame may differ
)
# Remaining difference, as a share of the variance. Measured on Kvasir-SEG: frozen frames 0.00003,
# 200 re-encoded, resized or mirrored copies up to 0.0017, the hardest twin 0.007, strangers from
# 0.047 on. CamVid: nothing below 0.047 across its drives; a waiting car films copies.
_MAX_DIFFERENCE: Final = 0.015
_MIN_DEVIATION: Final = 0.5  # stored levels; an image of one colour is like no other
_BLOCK: Final = 512
_MAX_COMPARED: Final = 20_000  # images of which every pair is compared: half a minute
# Beyond, a k-d tree finds the pairs. It is slower by a factor of five where it must reach as far as
# a correlation of 0.95, which only frames need that differ by more than a clock; copies measured on
# Kvasir-SEG correlate above 0.996.
_MIN_INDEXED_CORRELATION: Final = 0.98


@dataclass(frozen=True, order=True)
class DuplicatePair:
    """Two images that show the same, by index; `first` is the lower one.

    `exact`: the decoded pixels are equal. `near`: another encoding or size, mirrored, turned by
    right angles, or another clock burnt in.
    """

    first: int
    second: int
    kind: Literal["exact", "near"]


def thumbnail(image: NDArray[Any]) -> Thumbnail:
    """Thumbnail of an image (H, W, C) for comparisons: float32 (48 * 48,), mean 0.

    It is the mean over the channels in stored values, of any integer type.
    """
    height, width, channels = image.shape
    size = (min(width, _FINE_SIDE), min(height, _FINE_SIDE))  # areas of areas are areas
    parts = [  # four, because cv2.resize accepts no more channels
        cv2.resize(
            np.ascontiguousarray(image[..., first : first + 4]), size, interpolation=cv2.INTER_AREA
        )
        for first in range(0, channels, 4)
    ]
    grey = np.dstack(parts).astype(np.float32).mean(axis=2)
    flat = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).ravel()
    return np.asarray(flat - flat.mean(), np.float32)


def find_duplicates(
    pixel_hashes: Sequence[Hashable], thumbnails: Sequence[Thumbnail]
) -> list[DuplicatePair]:
    """Find pairs of images that show the same, in order; enough pairs to link all copies.

    Five copies of one image give four pairs, not ten. Frames that merely follow each
    other in a video of a moving camera are no copies.

    Args:
        pixel_hashes: per image, a hash of its pixels.
        thumbnails: per image, its `thumbnail`.
    """
    first_index: dict[Hashable, int] = {}
    duplicates: list[DuplicatePair] = []
    for index, pixel_hash in enumerate(pixel_hashes):
        original = first_index.setdefault(pixel_hash, index)
        if original != index:
            duplicates.append(DuplicatePair(original, index, "exact"))
    unique = list(first_index.values())
    if len(unique) > 1:
        pairs = _near_duplicates([thumbnails[index] for index in unique])
        duplicates += [DuplicatePair(unique[i], unique[j], "near") for i, j in pairs]
    return sorted(duplicates)


def group_duplicates(
    pixel_hashes: Sequence[Hashable], thumbnails: Sequence[Thumbnail]
) -> list[int]:
    """For each image, the index of the first that shows the same; arguments of
    `find_duplicates`.
    """
    groups = DisjointSet(len(pixel_hashes))
    for duplicate in find_duplicates(pixel_hashes, thumbnails):
        groups.union(duplicate.first, duplicate.second)
    return groups.representatives()


def _near_duplicates(thumbnails: Sequence[Thumbnail]) -> Iterator[tuple[int, int]]:
    """Yield indices of near copies, the lower first, unless other pairs link them already."""
    groups = DisjointSet(len(thumbnails))
    for i, j, turn in _candidate_pairs(thumbnails):
        if groups.find(i) == groups.find(j):
            continue
        turned = turn(thumbnails[j].reshape(_SIDE, _SIDE)).ravel()
        if _mean_square_difference(thumbnails[i], turned) < _MAX_DIFFERENCE:
            groups.union(i, j)
            yield i, j


def _candidate_pairs(thumbnails: Sequence[Thumbnail]) -> Iterator[tuple[int, int, Turn]]:
    """Yield pairs that correlate at low resolution, with the transform of the second image."""
    unit = _coarse_unit_thumbnails(thumbnails)
    if len(unit) > _MAX_COMPARED:
        yield from indexed_pairs(unit, TURNS, _MIN_INDEXED_CORRELATION)
        return
    flat = unit.reshape(len(unit), -1)
    for turn in TURNS:
        turned = turn(unit).reshape(flat.shape)
        for start in range(0, len(flat), _BLOCK):
            # In blocks of rows: 20,000 images at once would need a matrix of 1.6 GB.
            correlation = flat[start : start + _BLOCK] @ turned[start:].T
            near = np.argwhere(correlation > _MIN_CORRELATION)
            # Both indices begin at `start`; i < j leaves out the image itself and the mirrored
            # half.
            for i, j in near[near[:, 0] < near[:, 1]] + start:
                yield int(i), int(j), turn


def _coarse_unit_thumbnails(thumbnails: Sequence[Thumbnail]) -> NDArray[np.float32]:
    """Thumbnails (n, side, side) at low resolution, of length 1; 0 where an image hardly varies."""
    size = (_COARSE_SIDE, _COARSE_SIDE)
    table = np.empty((len(thumbnails), *size), np.float32)
    for index, square in enumerate(thumbnails):
        full = square.reshape(_SIDE, _SIDE).astype(np.float32)
        table[index] = cv2.resize(full, size, interpolation=cv2.INTER_AREA)
    length = np.linalg.norm(table, axis=(1, 2), keepdims=True)
    varied = length > _MIN_DEVIATION * _COARSE_SIDE
    # The quotient is computed everywhere, so that the divisor needs a lower bound even where the
    # result is discarded.
    return np.where(varied, table / np.maximum(length, 1e-6), 0).astype(np.float32)


def _mean_square_difference(first: Thumbnail, second: Thumbnail) -> float:
    """Mean square difference of the best agreeing pixels, relative to the smaller variance."""
    first, second = first.astype(np.float32), second.astype(np.float32)
    n_compared = int(_AGREEING_SHARE * len(first))
    # Partition instead of a sort: only the set of the best agreeing pixels matters.
    smallest = np.partition(np.abs(first - second), n_compared)[:n_compared]
    return float(np.mean(smallest**2) / max(min(first.var(), second.var()), 1e-6))


def _mirrored_views(image: NDArray[Any]) -> list[NDArray[Any]]:
    return [image, image[..., ::-1], image[..., ::-1, :], image[..., ::-1, ::-1]]


def _make_turn(mirror: int, *, transposed: bool) -> Turn:
    """One of the eight symmetries of a square image (..., S, S)."""

    def turn(image: NDArray[Any]) -> NDArray[Any]:
        mirrored = _mirrored_views(image)[mirror]
        return mirrored.swapaxes(-1, -2) if transposed else mirrored

    return turn


TURNS: Final[list[Turn]] = [
    _make_turn(mirror, transposed=t) for t in (False, True) for mirror in range(4)
]
