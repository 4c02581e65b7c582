"""Probabilities and truth of one image at its own size, whole or in bands of rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.data.files.decode import Samples
from harness.data.windows.large_pair import LargePair
from harness.data.windows.large_windows import LargeImageWindows
from harness.data.windows.overview import NearestReduction, read_reduced

if TYPE_CHECKING:
    from harness.training.metrics.native_size import NativePredictor

Array8 = NDArray[np.uint8]


class PredictedBand(NamedTuple):
    """Rows of an image: probabilities (K, h, W) and truth (h, W) or (h, W, K)."""

    rows: slice
    p: NDArray[np.float32]
    mask: Array8


@dataclass(frozen=True)
class PredictedImage:
    """An image that was predicted.

    Attributes:
        size: height and width.
        bands: from top to bottom; they can be read once.
    """

    size: tuple[int, int]
    bands: Iterator[PredictedBand]


def predicted_whole(p: NDArray[np.float32], mask: Array8) -> PredictedImage:
    """An image that is in memory, as a single band."""
    height, width = int(p.shape[1]), int(p.shape[2])
    return PredictedImage((height, width), iter([PredictedBand(slice(0, height), p, mask)]))


def predict_large(
    predictors: "Sequence[NativePredictor]", pair: LargePair, max_pixels: float, *, tta: bool
) -> PredictedImage:
    """Predict an open pair while its bands are read.

    Args:
        max_pixels: most pixels for a network that was not trained on tiles, whose logits are in
            memory.

    Raises:
        DataError: more pixels than that; while the bands are read, as `iterate_mean_bands`.
    """
    from harness.training.metrics.native_bands import iterate_mean_bands  # noqa: PLC0415  # imports torch

    height, width = pair.header.height, pair.header.width
    if height * width > max_pixels and not all(network.uses_tiles for network in predictors):
        raise DataError(
            f"{pair.image.path}: {width}x{height} is more than {max_pixels:,.0f} pixels, and a "
            "network of whole images needs all of them at once; use one of tiles (data.tile.size), "
            "or raise limits.max_pixels"
        )

    def bands() -> Iterator[PredictedBand]:
        source = LargeImageWindows(pair, pair.data)
        for top, p in iterate_mean_bands(predictors, source, 0, tta=tta):
            rows = slice(top, top + p.shape[1])
            yield PredictedBand(rows, p, pair.read_mask(rows))

    return PredictedImage((height, width), bands())


def reduce_example(
    image: PredictedImage, pair: LargePair, data: StudyDataConfig
) -> tuple[Samples, Array8, Array8]:
    """Image, truth and decisions of a large image at the size of an example, see `draw_decision`.

    Truth and decisions are those at the centres of areas.
    """
    from harness.training.metrics.native_size import (  # noqa: PLC0415  # imports torch
        MAX_OVERLAY_PX,
        decide_plainly,
    )

    height, width = image.size
    scale = min(1.0, MAX_OVERLAY_PX / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    planes = () if data.n_mask_planes is None else (data.n_mask_planes,)
    decision, truth = (NearestReduction((height, width, *planes), size) for _ in range(2))
    for band in image.bands:
        decided = decide_plainly(band.p, data)
        decision.add(band.rows.start, np.moveaxis(decided, 0, 2) if planes else decided)
        truth.add(band.rows.start, band.mask)
    decided = np.moveaxis(decision.mask(), 2, 0) if planes else decision.mask()
    return read_reduced(LargeImageWindows(pair, data), 0, size), truth.mask(), decided
