"""Draw a sheet of a few pairs before and after an augmentation.

The module is separate because it imports albumentations, which takes seconds.
"""

from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.data.datasets.sources import Dataset, ImageMaskPair
from harness.data.files.resize import fit_image, fit_mask
from harness.data.loading.augment import build_augmentation, scale_for_augmentation
from harness.data.loading.augment_check import Size, check_augmentation
from harness.data.scan.scan import DatasetScan
from harness.data.windows.overview import read_pair_or_overview
from harness.inspection.pair_checks import is_empty
from harness.inspection.panels import InspectionGallery, InspectionPanel, draw_pair
from harness.inspection.sealed_images import SealedImages

Array8 = NDArray[np.uint8]

N_PAIRS: Final = 6
N_VARIANTS: Final = 5
SIDE: Final = 256  # px of augmented images if no study gives a size


def augmentation_gallery(
    scan: DatasetScan,
    name: str,
    folder: Path | None = None,
    size: Size = (SIDE, SIDE),
    sealed: SealedImages = MappingProxyType({}),
) -> InspectionGallery:
    """Gallery of six pairs spread over the dataset, each unchanged and augmented five times.

    Args:
        name: name of a preset or of a file of steps.
        folder: folder of the files of steps.
        size: height and width of the images before augmentation, as in training.
        sealed: test images of studies, which are not drawn.

    Raises:
        ConfigError: unknown preset or file, or its steps do not fit the images.
        DataError: an image is missing since the scan.
    """
    dataset = scan.dataset
    data = dataset.data
    check_augmentation(name, folder=folder, data=data, sizes=[size])
    augment = build_augmentation(name, folder=folder, data=data)
    # Pairs without an object would not show what happens to masks.
    with_objects = [
        pair
        for pair, stats in zip(dataset.pairs, scan.pair_stats, strict=True)
        if not is_empty(stats, data.task) and stats.image_sha256 not in sealed
    ]
    # Spread over the dataset: neighbours in the list are often frames of one video.
    chosen = with_objects[:: max(1, len(with_objects) // N_PAIRS)][:N_PAIRS]
    panels = []
    for row, pair in enumerate(chosen):
        image, mask = _load_training_pair(dataset, pair, size)
        panels.append(InspectionPanel(draw_pair(image, mask, data), pair.image.as_posix()))
        # Each variant has another seed, which its caption gives, so that it can be repeated.
        for seed in range(row * N_VARIANTS, (row + 1) * N_VARIANTS):
            new_image, new_mask = augment(image, mask, seed)
            panels.append(InspectionPanel(draw_pair(new_image, new_mask, data), f"seed {seed}"))
    note = "Each row: an unchanged pair, then augmented as in training; lines are mask contours."
    return InspectionGallery(
        f"Augmentation: {name}", note, tuple(panels), len(chosen), N_VARIANTS + 1
    )


def _load_training_pair(
    dataset: Dataset, pair: ImageMaskPair, size: Size
) -> tuple[NDArray[Any], Array8]:
    """Load a pair at the size and in the types of the training input."""
    data = dataset.data
    loaded = read_pair_or_overview(dataset.source, pair.image, pair.masks, data, dataset.max_pixels)
    # Resized before the augmentation, as in training: the effect of a step depends on the size.
    image = fit_image(loaded.image, size, "stretch")
    mask = fit_mask(loaded.mask, size, "stretch", nearest=data.uses_nearest_resize)
    return scale_for_augmentation(image, data.range), mask


def gallery_sheet(gallery: InspectionGallery) -> Array8:
    """Join a gallery into one picture, uint8 (H, W, 3), RGB, with a group in each row."""
    pictures = [panel.picture for panel in gallery.panels]
    rows = [
        np.hstack(pictures[start : start + gallery.together])
        for start in range(0, len(pictures), gallery.together)
    ]
    return np.vstack(rows) if rows else np.zeros((SIDE, SIDE, 3), np.uint8)
