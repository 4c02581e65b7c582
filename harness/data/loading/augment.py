"""Augmentation: changed training images, and masks whose values stay exactly what they were."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812 (its own convention)
import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.errors import ConfigError, suggest_nearest
from harness.data.loading.augment_file import Step, read_steps

Array8 = NDArray[np.uint8]
Image = NDArray[Any]  # uint8, or float32 in [0, 1]
Bools = NDArray[np.bool_]

_CONTENT = np.uint8(254)  # unlike what steps fill masks with: a class or VOID


class AllowedMaskValues:
    """The values that an augmented mask may hold, and what becomes of others.

    Attributes:
        allowed: the indices of the classes, and VOID where the losses know it; rising.
    """

    def __init__(self, data: StudyDataConfig) -> None:
        classes = (0, 1) if data.task != "multiclass" else tuple(range(len(data.classes)))
        # Masks of multiclass tasks hold VOID where they are padded, also without an ignore_index.
        void = data.has_ignored_pixels or data.task == "multiclass"
        self.allowed = (*classes, IGNORE_INDEX) if void else classes
        self._replace_others = data.has_ignored_pixels
        self._is_allowed = np.isin(np.arange(256), self.allowed)

    def replace_invalid(self, mask: Array8) -> Array8:
        """The mask, with other values as VOID where the study has pixels that count nowhere.

        Raises:
            ConfigError: other values in a study where every pixel counts.
        """
        valid = self._is_allowed[mask]
        if valid.all():
            return mask
        if self._replace_others:
            return np.where(valid, mask, np.uint8(IGNORE_INDEX))
        raise ConfigError(self.describe_invalid(np.unique(mask[~valid]).tolist()))

    def describe_invalid(self, invalid: Sequence[int], argument: str = "fill_mask") -> str:
        """A sentence on values that no class has; `argument` is the step's that sets them."""
        values = ", ".join(map(str, invalid[:6])) + (", ..." if len(invalid) > 6 else "")
        allowed = ", ".join(map(str, self.allowed[:12])) + (
            ", ..." if len(self.allowed) > 12 else ""
        )
        return (
            f"writes {values} into masks, which no class has (there are {allowed}); set "
            f"{argument} to one of them in the file"
        )


class AugmentationPipeline:
    """A chain of steps: `augment(image, mask, seed)`. Not for two threads at once."""

    def __init__(
        self, name: str, steps: Sequence[Step], p: float, values: AllowedMaskValues
    ) -> None:
        self._name, self._values = name, values
        targets = {"content": "mask"}
        self._compose = A.Compose(list(steps), p=p, additional_targets=targets) if steps else None

    def __call__(self, image: Image, mask: Array8, seed: int) -> tuple[Image, Array8]:
        """The pair, changed; the same seed changes it the same way.

        Args:
            image: (H, W, C), uint8, or float32 in [0, 1].
            mask: uint8 (H, W) or (H, W, K); values are moved, never mixed.
            seed: 0 to 2**32 - 1.

        Returns:
            The same types and sizes; without steps, the arguments themselves.

        Raises:
            ConfigError: a step changed sizes or types, or wrote a value that no class has.
        """
        image, mask, _ = self._apply(seed, image=image, mask=mask)
        return image, mask

    def apply_with_content(
        self, image: Image, mask: Array8, content: Bools, seed: int
    ) -> tuple[Image, Array8, Bools]:
        """The pair as a call changes it, and where the picture now is: not padding, not filled.

        Args:
            content: (H, W), where the picture is before.
        """
        before = np.where(content, _CONTENT, np.uint8(0))
        image, mask, after = self._apply(seed, image=image, mask=mask, content=before)
        return image, mask, np.asarray(after) == _CONTENT

    def _apply(self, seed: int, **targets: NDArray[Any]) -> tuple[Image, Array8, Array8 | None]:
        image, mask, content = targets["image"], targets["mask"], targets.get("content")
        if self._compose is None:
            return image, mask, content
        # Global seeds do not reach it. `set_random_seed` would give every step its own generator
        # with the same seed: all steps decide alike, and 3 of 10 images stay as they are.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311
        result = self._compose(**targets)
        new_image, new_mask = result["image"], result["mask"]
        for old, new in ((image, new_image), (mask, new_mask)):
            if new.shape != old.shape or new.dtype != old.dtype:
                raise ConfigError(
                    f"data.augment: {self._name} turns {old.dtype} {old.shape} into {new.dtype} "
                    f"{new.shape}; sizes and types must stay (harness check names the step)"
                )
        try:
            return new_image, self._values.replace_invalid(new_mask), result.get("content")
        except ConfigError as error:
            raise ConfigError(f"data.augment: {self._name} {error}") from None


def build_augmentation(
    name: str, *, folder: Path | None = None, data: StudyDataConfig | None = None
) -> AugmentationPipeline:
    """The preset of that name, or the steps in a file of albumentations' own YAML.

    It is built and not tried: `harness.data.loading.augment_check.check_augment` does that, once
    a study.

    Args:
        folder: where files lie.
        data: what masks hold: in multiclass tasks, presets fill what comes in from outside the
            image with void instead of class 0. None: two classes.

    Raises:
        ConfigError: no such preset or file; unknown steps or arguments.
    """
    data = StudyDataConfig() if data is None else data
    return AugmentationPipeline(name, *load_steps(name, folder, data), AllowedMaskValues(data))


def load_steps(name: str, folder: Path | None, data: StudyDataConfig) -> tuple[list[Step], float]:
    """The steps of a preset or a file, and the probability of all of them together.

    Raises:
        ConfigError: as `build_augmentation`.
    """
    if name in PRESETS:
        return PRESETS[name](IGNORE_INDEX if data.task == "multiclass" else 0), 1.0
    path = None if folder is None else folder / name
    if path is None or not path.is_file():
        raise ConfigError(
            f"data.augment: no preset and no file {name!r}{suggest_nearest(name, PRESETS)}"
        )
    return read_steps(path)


def find_steps_folder(name: str, folders: Sequence[Path]) -> Path | None:
    """The first of the folders that holds the file of steps `name`; None for a preset.

    Raises:
        ConfigError: neither a preset nor a file.
    """
    if name in PRESETS:
        return None
    folder = next((candidate for candidate in folders if (candidate / name).is_file()), None)
    if folder is None:
        searched = " or ".join(str(candidate) for candidate in folders if candidate.is_dir())
        choices = [
            *PRESETS,
            *(path.name for candidate in folders for path in candidate.glob("*.y*ml")),
        ]
        raise ConfigError(
            f"data.augment: no file {name!r} in {searched}{suggest_nearest(name, choices)}"
        )
    return folder


def scale_for_augmentation(image: Image, value_range: tuple[float, float]) -> Image:
    """An image as `AugmentationPipeline` takes it: uint8 as stored, others as float32 in [0, 1].

    Args:
        image: uint8 or uint16.
        value_range: the values of uint16 that become 0 and 1.
    """
    if image.dtype == np.uint8:
        return image
    low, high = value_range
    scaled = (image.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.asarray(np.clip(scaled, 0.0, 1.0))


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
