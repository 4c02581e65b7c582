"""Augmentation: changed training images, and masks whose values stay exactly what they were."""

import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812 (its own convention)
import cv2
import numpy as np
from numpy.typing import NDArray

from harness import strict_yaml
from harness.data_config import VOID
from harness.errors import ConfigError, nearest

Array8 = NDArray[np.uint8]
Image = NDArray[Any]  # uint8, or float32 in [0, 1]


class Augment:
    """A chain of steps: `augment(image, mask, seed)`. Not for two threads at once."""

    def __init__(self, steps: list[Any]) -> None:
        self._compose = A.Compose(steps) if steps else None

    def __call__(self, image: Image, mask: Array8, seed: int) -> tuple[Image, Array8]:
        """The pair, changed; the same seed changes it the same way.

        Args:
            image: (H, W, C), uint8, or float32 in [0, 1].
            mask: uint8 (H, W) or (H, W, K); values are moved, never mixed.
            seed: 0 to 2**32 - 1.

        Returns:
            The same types; without steps, the arguments themselves.
        """
        if self._compose is None:
            return image, mask
        # Global seeds do not reach it. `set_random_seed` would give every step its own generator
        # with the same seed: all steps decide alike, and 3 of 10 images stay as they are.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311
        changed = self._compose(image=image, mask=mask)
        return changed["image"], changed["mask"]


def build_augment(
    name: str, *, folder: Path | None = None, channels: int = 3, void: bool = False
) -> Augment:
    """The preset of that name, or the steps in a file of albumentations' own YAML.

    Args:
        folder: where files lie.
        channels: of the images.
        void: fill what comes in from outside the image with void instead of class 0.

    Raises:
        ConfigError: no such preset or file; unknown steps or arguments; steps that cannot take
            images of so many channels.
    """
    with warnings.catch_warnings():
        # albumentations only warns of an argument that it does not know, and then ignores it.
        warnings.simplefilter("error", UserWarning)
        steps = _preset(name, void) if name in PRESETS else _from_file(name, folder)
    augment = Augment(steps)
    _try(augment, name, channels)
    return augment


def find_steps(name: str, places: Sequence[Path]) -> Path | None:
    """The first of the folders that holds the file of steps `name`; None for a preset.

    Raises:
        ConfigError: neither a preset nor a file.
    """
    if name in PRESETS:
        return None
    folder = next((place for place in places if (place / name).is_file()), None)
    if folder is None:
        listed = " or ".join(str(place) for place in places if place.is_dir())
        raise ConfigError(f"data.augment: no file {name!r} in {listed}{nearest(name, PRESETS)}")
    return folder


def augmentable(image: Image, value_range: tuple[float, float]) -> Image:
    """An image as `Augment` takes it: uint8 as stored, others as float32 in [0, 1].

    Args:
        image: uint8 or uint16.
        value_range: the values of uint16 that become 0 and 1.
    """
    if image.dtype == np.uint8:
        return image
    low, high = value_range
    scaled = (image.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.asarray(np.clip(scaled, 0.0, 1.0))


def _preset(name: str, void: bool) -> list[Any]:
    return PRESETS[name](VOID if void else 0)


def _from_file(name: str, folder: Path | None) -> list[Any]:
    """Steps as `albumentations.save(..., data_format="yaml")` writes them."""
    path = None if folder is None else folder / name
    if path is None or not path.is_file():
        raise ConfigError(f"data.augment: no preset and no file {name!r}{nearest(name, PRESETS)}")
    content = strict_yaml.load(path.read_text(encoding="utf-8"), place=str(path)).value
    transform = content.get("transform") if isinstance(content, dict) else None
    if not isinstance(transform, dict) or transform.get("__class_fullname__") != "Compose":
        raise ConfigError(
            f"{path}: must hold a Compose as albumentations.save(compose, path, "
            "data_format='yaml') writes it"
        )
    try:
        compose = A.from_dict(content)
    except (AttributeError, ImportError, KeyError, TypeError, ValueError, UserWarning) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{path}: albumentations cannot build it: {text}") from None
    return list(compose.transforms)


def _try(augment: Augment, name: str, channels: int) -> None:
    """Put one picture through: sizes and types must come out as they went in."""
    image = np.full((64, 64, channels), 128, np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    for seed in range(_TRIES):
        try:
            changed, moved = augment(image, mask, seed)
        except Exception as error:  # whatever a step of the user's raises
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(
                f"data.augment: {name} cannot take images of {channels} channels: {text}; "
                "use light or none, or a file of your own"
            ) from None
        if changed.shape != image.shape or changed.dtype != image.dtype:
            raise ConfigError(
                f"data.augment: {name} turns {image.dtype} {image.shape} into {changed.dtype} "
                f"{changed.shape}; sizes and types must stay (data.image_size sets the size)"
            )
        if moved.shape != mask.shape or not set(np.unique(moved).tolist()) <= {0, VOID}:
            raise ConfigError(f"data.augment: {name} changes the values of masks")


_TRIES = 8  # steps act with a probability


def _light(_: int) -> list[Any]:
    """Flips (endoscopes have no upright) and a little light."""
    return [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.5),
    ]


def _medium(outside: int) -> list[Any]:
    """Also turned, scaled and shifted, and colours of another lamp."""
    return [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        _affine(scale=0.15, shift=0.06, degrees=45, outside=outside, p=0.7),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        A.HueSaturationValue(hue_shift_limit=8, sat_shift_limit=20, val_shift_limit=0, p=0.4),
    ]


def _strong(outside: int) -> list[Any]:
    """Also bent, blurred, noisy and partly covered."""
    return [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        _affine(scale=0.35, shift=0.12, degrees=180, outside=outside, p=0.9),
        A.GridDistortion(num_steps=5, distort_limit=0.25, fill_mask=outside, p=0.3),
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


def _affine(*, scale: float, shift: float, degrees: float, outside: int, p: float) -> Any:
    return A.Affine(
        scale=(1 - scale, 1 + scale),
        translate_percent=(-shift, shift),
        rotate=(-degrees, degrees),
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_CONSTANT,
        fill=0,
        fill_mask=outside,
        p=p,
    )


def _none(_: int) -> list[Any]:
    return []


PRESETS: dict[str, Callable[[int], list[Any]]] = {
    "none": _none,
    "light": _light,
    "medium": _medium,
    "strong": _strong,
}
