"""Candidates for near copies among very many images, without a comparison of every pair.

The lowest coefficients of the cosine transform of a small thumbnail are what perceptual hashes are
cut from. Here they stay numbers in a k-d tree: the transform keeps distances, so a part of it never
enlarges them, and no pair that correlates is lost, as a hash of bits may lose it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import scipy  # scipy.spatial is imported at its first use
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Turn = Callable[[NDArray[Any]], NDArray[Any]]

# Of 40,000 generated images 20 coefficients leave no stranger within the distance, 8 leave one or
# two; from 24 on the tree gains nothing.
_N_COEFFICIENTS: Final = 20
# Bounds time and memory where thousands of images are alike, as in a film of a still camera; its
# frames are linked through their nearest ones.
_MAX_NEIGHBOURS: Final = 32
_BLOCK: Final = 4096


def indexed_pairs(
    unit: Floats, turns: Sequence[Turn], min_correlation: float
) -> Iterator[tuple[int, int, Turn]]:
    """Yield pairs i < j of which i correlates with a turned j, in order of turn.

    Args:
        unit: (n, side, side), thumbnails of length 1 and mean 0; 0 for images that hardly vary,
            which are in no pair.
        turns: transforms of (..., side, side).
        min_correlation: smallest correlation of a pair, above 0.
    """
    flat = unit.reshape(len(unit), -1)
    rows = np.flatnonzero(flat.any(axis=1))
    if len(rows) < 2:
        return
    tree = scipy.spatial.cKDTree(_low_coefficients(unit[rows]))
    # Squared distance of two vectors of length 1: 2 - 2 times their correlation.
    reach = float(np.sqrt(2 - 2 * min_correlation))
    for turn in turns:
        for start in range(0, len(rows), _BLOCK):
            seconds = rows[start : start + _BLOCK]
            turned = np.ascontiguousarray(turn(unit[seconds]))
            _, nearest = tree.query(
                _low_coefficients(turned),
                k=min(_MAX_NEIGHBOURS, len(rows)),
                distance_upper_bound=reach,
                workers=-1,
            )
            nearest = nearest.reshape(len(seconds), -1)
            # The tree marks absent neighbours by the number of its points.
            position, k = np.nonzero(nearest < len(rows))
            firsts = rows[nearest[position, k]]
            is_earlier = firsts < seconds[position]
            position, firsts = position[is_earlier], firsts[is_earlier]
            second_flat = turned.reshape(len(seconds), -1)[position]
            is_near = (flat[firsts] * second_flat).sum(axis=1) > min_correlation
            for i, j in zip(firsts[is_near], seconds[position[is_near]], strict=True):
                yield int(i), int(j), turn


def _low_coefficients(unit: Floats) -> Floats:
    """Lowest coefficients (n, _N_COEFFICIENTS) of the orthonormal cosine transform (DCT-II)."""
    side = unit.shape[-1]
    frequency, position = np.arange(side)[:, None], np.arange(side)[None]
    basis = np.sqrt(2 / side) * np.cos(np.pi * (position + 0.5) * frequency / side)
    basis[0] /= np.sqrt(2)
    # In order of frequency, whole shells before parts of one; the first is the mean, which is 0.
    order = np.argsort((frequency**2 + frequency.T**2).ravel(), kind="stable")
    chosen = np.unravel_index(order[1 : 1 + _N_COEFFICIENTS], (side, side))
    waves = [np.outer(basis[a], basis[b]).ravel() for a, b in zip(*chosen, strict=True)]
    table = np.stack(waves, axis=1).astype(np.float32)
    return np.asarray(unit.reshape(len(unit), -1) @ table, np.float32)
