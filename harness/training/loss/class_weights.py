"""Class weights from the training masks, for `loss.class_weights: balanced`."""

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX
from harness.config.study import LossConfig, TrialConfig
from harness.data.loading.image_cache import ImageCache

Floats = NDArray[np.float64]


def median_frequency_weights(images: ImageCache) -> tuple[float, ...]:
    """Median frequency balancing: w_c = median(f) / f_c.

    f_c is the share that class c has of the pixels of those training images that show it; VOID
    pixels are in neither count. A class that no training image shows weighs 1, and its frequency
    is not part of the median. All training images count, whatever `data.subset` is; the masks are
    those at `data.image_size`.

    Returns:
        One weight for each class of the task, rounded to 6 significant digits.
    Source:
        Eigen and Fergus 2015, Predicting Depth, Surface Normals and Semantic Labels with a Common
        Multi-Scale Convolutional Architecture, section 6.3.2.
    """
    n_classes = len(images.data.classes)
    class_pixels, image_pixels = np.zeros(n_classes), np.zeros(n_classes)
    for index in images.train:
        counts, total = _count_mask_pixels(np.asarray(images.masks[index]), n_classes)
        class_pixels += counts
        image_pixels += np.where(counts > 0, total, 0)
    frequency = np.divide(
        class_pixels, image_pixels, out=np.full(n_classes, np.nan), where=image_pixels > 0
    )
    weights = np.nan_to_num(np.nanmedian(frequency) / frequency, nan=1.0)
    return tuple(float(f"{weight:.6g}") for weight in weights)


def resolve_class_weights(
    config: TrialConfig, images: ImageCache
) -> tuple[TrialConfig, dict[str, float]]:
    """The configuration with numbers in place of `balanced`, and these by class.

    Any other configuration comes back as it is, with {}.
    """
    if config.loss.class_weights != "balanced":
        return config, {}
    weights = median_frequency_weights(images)
    loss = LossConfig.model_validate(config.loss.model_dump() | {"class_weights": weights})
    by_class = dict(zip(images.data.classes, weights, strict=True))
    return config.model_copy(update={"loss": loss}), by_class


def _count_mask_pixels(mask: NDArray[np.uint8], n_classes: int) -> tuple[Floats, Floats]:
    """Pixels of each class, and pixels that count, of one mask (h, w) or (h, w, K)."""
    if mask.ndim == 2:
        # ten times as fast as bincount, and exact up to 2^24 pixels, the largest image_size
        counts = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(np.float64)
        return counts[:n_classes], np.full(n_classes, counts[:IGNORE_INDEX].sum())
    planes = mask.reshape(-1, n_classes)
    return (planes == 1).sum(0).astype(np.float64), (planes != IGNORE_INDEX).sum(0).astype(
        np.float64
    )
