"""Mean probabilities of a large image in bands: over networks, and over flips of its windows."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from harness.data.windows.tiles import ImageWindows
from harness.training.metrics.native_size import (
    FLIPS,
    NO_FLIP,
    NativePredictor,
    Probabilities,
    fixed_arithmetic,
)

Band = tuple[int, Probabilities]  # first pixel row; probabilities (K, rows, W)


def iterate_mean_bands(
    predictors: Sequence[NativePredictor], source: ImageWindows, row: int, *, tta: bool = False
) -> Iterator[Band]:
    """Yield the probabilities of an image, as `mean_probabilities`, in bands from top to bottom.

    Each network has at most a row of its windows in memory, and four of them with `tta`. A network
    that sees whole images has its logits in memory.

    Args:
        row: index of the image in `source`.

    Raises:
        DataError: the image cannot be read.
        DivergedError, TooLargeError: an output is not finite; memory does not suffice.
    """
    copies = Counter(predictors)
    flips = FLIPS if tta else NO_FLIP
    passes = [(predictor, flip) for predictor in copies for flip in flips]
    with torch.inference_mode(), fixed_arithmetic():
        bands = [predictor.iterate_bands(source, row, flip) for predictor, flip in passes]
        if len(bands) == 1:
            yield from bands[0]  # the mean of one is itself, to the last bit
            return
        for top, parts in merge_bands(bands):
            total = np.zeros(parts[0].shape)
            for (predictor, _), p in zip(passes, parts, strict=True):
                total += copies[predictor] * p.astype(np.float64)
            yield top, (total / (len(predictors) * len(flips))).astype(np.float32)


def merge_bands(iterators: Sequence[Iterator[Band]]) -> Iterator[tuple[int, list[Probabilities]]]:
    """Yield the rows that all iterators have reached, with their first row.

    Each iterator yields bands from top to bottom; their borders may differ.
    """
    waiting: list[Probabilities | None] = [None] * len(iterators)
    top = 0
    while True:
        parts: list[Probabilities] = []
        for bands, rest in zip(iterators, waiting, strict=True):
            part = rest if rest is not None else next(bands, (0, None))[1]
            if part is None:
                return
            parts.append(part)
        n_rows = min(part.shape[1] for part in parts)
        waiting = [part[:, n_rows:] if n_rows < part.shape[1] else None for part in parts]
        yield top, [part[:, :n_rows] for part in parts]
        top += n_rows
