"""Images of a training: batches of whole images or of tiles, and the size of the metrics."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.config.study import TrialConfig
from harness.core.errors import ConfigError
from harness.core.text import count
from harness.data.loading.augment import build_augmentation
from harness.data.loading.batches import EpochBatches, TrainBatches, subset_indices
from harness.data.loading.epoch_order import EpochOrder
from harness.data.loading.image_cache import ImageCache
from harness.data.loading.mask_counts import MaskCounts, count_cached_masks, count_native_masks
from harness.data.loading.repeat_factors import foreground_presence, repeat_factors
from harness.data.loading.training_samples import TileSamples
from harness.data.windows.tiles import tile_geometry
from harness.data.windows.window import WindowSource
from harness.training.metrics.native_validation import NativeImages
from harness.training.on_device.placement import DevicePlacement


def build_train_batches(
    config: TrialConfig,
    images: ImageCache,
    windows: WindowSource | None,
    augments: Path | None,
    seed: int,
    on_device: DevicePlacement | None = None,
) -> EpochBatches:
    """Build the batches of a trial.

    Args:
        windows: `images` at their own sizes; needed if `data.tile.size` is set.
        augments: folder of the files that `data.augment` may name.
        on_device: makes the batches on the device where it can; None: on the CPU.
    """
    data = images.data
    indices = subset_indices(images.train, config.data.subset)
    draws = np.ones(len(indices))
    if config.data.sampling != "uniform":
        counts = count_masks(config, images, windows, indices)
        draws = repeat_factors(foreground_presence(counts.class_pixels, data), config.data.sampling)
    reader = None
    if config.data.tile.size is not None:
        assert windows is not None, "tiles are read from images at their own size"
        reader = TileSamples(windows, indices, config.data.tile, data, seed)
        draws = draws * reader.counts
    order = EpochOrder(indices, seed, draws)
    if on_device is not None:
        batches = on_device.build_batches(config, images, order, augments, seed)
        if batches is not None:
            return batches
    return TrainBatches(
        images.images,
        images.masks,
        indices,
        config.train.batch_size,
        build_augmentation(config.data.augment, folder=augments, data=data),
        seed,
        data.range,
        boxes=images.boxes if config.data.normalize == "per_image" else None,
        order=order,
        reader=reader,
    )


def count_masks(
    config: TrialConfig,
    images: ImageCache,
    windows: WindowSource | None,
    indices: Sequence[int] | NDArray[np.integer],
) -> MaskCounts:
    """Count the pixels of training masks as a trial sees them: of tiles, at native size."""
    if config.data.tile.size is None:
        return count_cached_masks(images, indices)
    assert windows is not None, "tiles are read from images at their own size"
    return count_native_masks(windows, indices, len(images.data.classes))


def native_images(
    config: TrialConfig, images: ImageCache, windows: WindowSource | None
) -> NativeImages | None:
    """Validation images at their own sizes; None if metrics are computed at eval_size."""
    if images.data.metrics_at != "native":
        return None
    assert windows is not None, "metrics at native size need images at their own size"
    return NativeImages(images, windows, tile_geometry(config.data.tile))


def check_scoring(config: TrialConfig, images: ImageCache, windows: WindowSource | None) -> None:
    """Refuse tiles of larger images with metrics at eval_size, where windows have no meaning.

    Raises:
        ConfigError: set `data.metrics_at`.
    """
    geometry = tile_geometry(config.data.tile)
    if geometry is None or images.data.metrics_at == "native":
        return
    assert windows is not None, "tiles are read from images at their own size"
    n_larger = sum(not geometry.fits(windows.shape(int(i))) for i in images.val)
    if n_larger or config.data.tile.scale != 1:
        reason = (
            f"{count(n_larger, 'validation image')} larger than a tile"
            if n_larger
            else f"data.tile.scale {config.data.tile.scale:g}"
        )
        raise ConfigError(
            f"data.tile.size {geometry.size}: {reason}, but metrics are computed at eval_size; "
            "set `data: {metrics_at: native}` in the study.yaml of a new study"
        )
