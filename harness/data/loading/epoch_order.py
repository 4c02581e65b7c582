"""Order of the training images in an epoch; images may be drawn several times."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class EpochOrder:
    """Draws of an epoch, which depend on seed and epoch only.

    An image is drawn as often as its weight says: a weight of 2.3 means two draws in each epoch,
    and a third in 30 % of them. All epochs have the same number of draws, the sum of the weights.

    Args:
        indices: of the training images.
        seed: of the order.
        weights: positive, one for each image; None: each is drawn once.
    """

    def __init__(
        self,
        indices: Sequence[int] | NDArray[np.integer],
        seed: int,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self._indices, self._seed = np.asarray(indices, np.int64), seed
        if not len(self._indices):
            raise ValueError("needs at least one image")
        draws = np.ones(len(self._indices)) if weights is None else weights
        self._count = max(1, round(float(draws.sum())))
        # Scaled, so that the sum is a whole number and every epoch has equally many steps.
        self._weights = draws * (self._count / draws.sum())

    def __len__(self) -> int:
        """Draws of an epoch."""
        return self._count

    @property
    def n_images(self) -> int:
        """Images among which it draws."""
        return len(self._indices)

    def draws(self, epoch: int) -> Integers:
        """Shuffled draws (len, 2) of an epoch, from 1: image, and its earlier draws in it."""
        # One generator per epoch, not one that goes through all epochs: a resumed trial gets the
        # same order without replaying the earlier epochs.
        generator = np.random.default_rng([self._seed, epoch])
        order = generator.permutation(self._repeated(epoch))
        return np.stack([order, _earlier_occurrences(order)], axis=1)

    def _repeated(self, epoch: int) -> Integers:
        """Each image as often as it is drawn in this epoch."""
        counts = np.round(self._weights).astype(np.int64)
        if not np.allclose(self._weights, counts, rtol=0, atol=1e-9):
            # Systematic sampling: the whole numbers plus an offset that fall into an interval as
            # long as the weight. The intervals lie in a random order: neighbours are not drawn
            # together. A stream of its own, so that the shuffle is that of equal weights.
            generator = np.random.default_rng([self._seed, epoch, 1])
            places = generator.permutation(len(self._weights))
            ends = np.cumsum(self._weights[places])
            points = np.minimum(np.arange(self._count) + generator.random(), ends[-1])
            hits = np.minimum(np.searchsorted(ends, points, side="right"), len(ends) - 1)
            counts = np.bincount(places[hits], minlength=len(self._weights))
        return np.repeat(self._indices, counts)


def _earlier_occurrences(values: Integers) -> Integers:
    """For each element the number of equal elements before it."""
    by_value = np.argsort(values, kind="stable")
    ordered = values[by_value]
    is_first = np.r_[True, ordered[1:] != ordered[:-1]]
    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(values)), 0))
    earlier = np.empty_like(values)
    earlier[by_value] = np.arange(len(values)) - starts
    return earlier
