"""What a preset of augmentation makes of a few pairs, as one sheet."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.data.augment import augmentable, build_augment
from harness.data.augment_check import Size, check_augment
from harness.data.look import Overview
from harness.data.pictures import read_pair
from harness.data.resize import fit_image, fit_mask
from harness.data.sources import Dataset, Pair
from harness.inspection.findings import is_empty
from harness.inspection.panels import Gallery, Panel, draw_pair

Array8 = NDArray[np.uint8]

N_PAIRS: Final = 6
N_CHANGED: Final = 5
SIDE: Final = 256  # px that images have when they are changed, where no study says it


def augmented(
    overview: Overview, name: str, folder: Path | None = None, size: Size = (SIDE, SIDE)
) -> Gallery:
    """Six pairs from all over the dataset, each as it is and changed five times.

    Args:
        name: of a preset, or of a file of steps.
        folder: where files of steps lie.
        size: height and width that images have when they are changed, as in training.

    Raises:
        ConfigError: no preset or file of that name, or its steps do not fit the images.
        DataError: an image has gone since it was looked at.
    """
    dataset = overview.dataset
    data = dataset.data
    check_augment(name, folder=folder, data=data, sizes=[size])
    change = build_augment(name, folder=folder, data=data)
    with_objects = [
        pair
        for pair, look in zip(dataset.pairs, overview.looks, strict=True)
        if not is_empty(look, data.task)
    ]
    chosen = with_objects[:: max(1, len(with_objects) // N_PAIRS)][:N_PAIRS]
    panels = []
    for row, pair in enumerate(chosen):
        image, mask = _as_trained_on(dataset, pair, size)
        panels.append(Panel(draw_pair(image, mask, data), pair.image.as_posix()))
        for seed in range(row * N_CHANGED, (row + 1) * N_CHANGED):
            new_image, new_mask = change(image, mask, seed)
            panels.append(Panel(draw_pair(new_image, new_mask, data), f"seed {seed}"))
    note = "Each row: a pair as it is, then as training may see it, with the contours of its mask."
    return Gallery(f"Augmentation: {name}", note, tuple(panels), len(chosen), N_CHANGED + 1)


def _as_trained_on(dataset: Dataset, pair: Pair, size: Size) -> tuple[NDArray[Any], Array8]:
    """A pair at the size and in the types that augmentation is given in training."""
    data = dataset.data
    masks = [dataset.root / mask for mask in pair.masks]
    loaded = read_pair(dataset.root / pair.image, masks, data, dataset.max_pixels)
    image = fit_image(loaded.image, size, "stretch")
    mask = fit_mask(loaded.mask, size, "stretch", nearest=data.indexed)
    return augmentable(image, data.range), mask


def sheet(gallery: Gallery) -> Array8:
    """A gallery as one picture, uint8 (H, W, 3), RGB, a group in each row."""
    pictures = [panel.picture for panel in gallery.panels]
    rows = [
        np.hstack(pictures[start : start + gallery.together])
        for start in range(0, len(pictures), gallery.together)
    ]
    return np.vstack(rows) if rows else np.zeros((SIDE, SIDE, 3), np.uint8)
