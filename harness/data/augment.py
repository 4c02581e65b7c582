"""Augmentation presets: changed training images, and masks that stay exactly {0, 1}."""

import random
import warnings
from collections.abc import Callable
from typing import Any

import albumentations as A  # noqa: N812 (its own convention)
import cv2
import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError, nearest

Array8 = NDArray[np.uint8]


class Augment:
    """One preset: `augment(image, mask, seed)`. Not for two threads at once."""

    def __init__(self, steps: list[Any]) -> None:
        self._compose = A.Compose(steps) if steps else None

    def __call__(self, image: Array8, mask: Array8, seed: int) -> tuple[Array8, Array8]:
        """The pair, changed; the same seed changes it the same way.

        Args:
            image: uint8 (H, W, 3).
            mask: uint8 (H, W) in {0, 1}.
            seed: 0 to 2**32 - 1.

        Returns:
            The same shapes and types; without steps, the arguments themselves.
        """
        if self._compose is None:
            return image, mask
        # Global seeds do not reach it. `set_random_seed` would give every step its own generator
        # with the same seed: all steps decide alike, and 3 of 10 images stay as they are.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311
        changed = self._compose(image=image, mask=mask)
        return changed["image"], changed["mask"]


def build_augment(name: str) -> Augment:
    """The preset of that name. Raises ConfigError for another, naming the nearest."""
    if name not in PRESETS:
        raise ConfigError(f"data.augment: no preset {name!r}{nearest(name, PRESETS)}")
    with warnings.catch_warnings():
        # albumentations only warns of an argument that it does not know, and then ignores it.
        warnings.simplefilter("error", UserWarning)
        return Augment(PRESETS[name]())


def _light() -> list[Any]:
    """Flips (endoscopes have no upright) and a little light."""
    return [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.5),
    ]


def _medium() -> list[Any]:
    """Also turned, scaled and shifted, and colours of another lamp."""
    return [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        _affine(scale=0.15, shift=0.06, degrees=45, p=0.7),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        A.HueSaturationValue(hue_shift_limit=8, sat_shift_limit=20, val_shift_limit=0, p=0.4),
    ]


def _strong() -> list[Any]:
    """Also bent, blurred, noisy and partly covered."""
    return [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        _affine(scale=0.35, shift=0.12, degrees=180, p=0.9),
        A.GridDistortion(num_steps=5, distort_limit=0.25, p=0.3),
        A.RandomBrightnessContrast(brightness_limit=0.3, contrast_limit=0.3, p=0.7),
        A.HueSaturationValue(hue_shift_limit=12, sat_shift_limit=35, val_shift_limit=0, p=0.5),
        A.OneOf(
            [
                A.GaussianBlur(sigma_limit=(0.5, 1.5), p=1.0),
                A.MotionBlur(blur_limit=(3, 7), p=1.0),
                A.GaussNoise(std_range=(0.02, 0.08), p=1.0),
            ],
            p=0.4,
        ),
        # Only the image is covered: the network learns to look past what hides a polyp.
        A.CoarseDropout(
            num_holes_range=(1, 4),
            hole_height_range=(0.05, 0.15),
            hole_width_range=(0.05, 0.15),
            fill=0,
            fill_mask=None,
            p=0.3,
        ),
    ]


def _affine(*, scale: float, shift: float, degrees: float, p: float) -> Any:
    return A.Affine(
        scale=(1 - scale, 1 + scale),
        translate_percent=(-shift, shift),
        rotate=(-degrees, degrees),
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_CONSTANT,
        fill=0,
        fill_mask=0,
        p=p,
    )


PRESETS: dict[str, Callable[[], list[Any]]] = {
    "none": list,
    "light": _light,
    "medium": _medium,
    "strong": _strong,
}
