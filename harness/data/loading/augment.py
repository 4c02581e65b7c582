"""Augment training images and their masks; mask values are moved, never mixed."""

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

_CONTENT = np.uint8(254)  # different from any fill value of a mask: a class or IGNORE_INDEX


class AllowedMaskValues:
    """Values that an augmented mask may hold, and the treatment of other values.

    Attributes:
        allowed: indices of the classes, and IGNORE_INDEX if the losses ignore it; ascending.
    """

    def __init__(self, data: StudyDataConfig) -> None:
        classes = (0, 1) if data.task != "multiclass" else tuple(range(len(data.classes)))
        # Multiclass masks are padded with IGNORE_INDEX, even without an ignore_index in the data.
        void = data.has_ignored_pixels or data.task == "multiclass"
        self.allowed = (*classes, IGNORE_INDEX) if void else classes
        self._replace_others = data.has_ignored_pixels
        self._is_allowed = np.isin(np.arange(256), self.allowed)

    def replace_invalid(self, mask: Array8) -> Array8:
        """Replace values that are not allowed by IGNORE_INDEX if the study ignores pixels.

        Raises:
            ConfigError: such values in a study where every pixel counts.
        """
        valid = self._is_allowed[mask]
        if valid.all():
            return mask
        if self._replace_others:
            return np.where(valid, mask, np.uint8(IGNORE_INDEX))
        raise ConfigError(self.describe_invalid(np.unique(mask[~valid]).tolist()))

    def describe_invalid(self, invalid: Sequence[int], argument: str = "fill_mask") -> str:
        """Message about values of no class; `argument` names the argument that sets them."""
        values = ", ".join(map(str, invalid[:6])) + (", ..." if len(invalid) > 6 else "")
        allowed = ", ".join(map(str, self.allowed[:12])) + (
            ", ..." if len(self.allowed) > 12 else ""
        )
        return (
            f"writes {values} into masks, which no class has (there are {allowed}); set "
            f"{argument} to one of them in the file"
        )


class AugmentationPipeline:
    """Chain of steps: `augment(image, mask, seed)`. Not thread-safe: copy it for each thread."""

    def __init__(
        self, name: str, steps: Sequence[Step], p: float, values: AllowedMaskValues
    ) -> None:
        self._name, self._values = name, values
        targets = {"content": "mask"}
        self._compose = A.Compose(list(steps), p=p, additional_targets=targets) if steps else None

    def __call__(self, image: Image, mask: Array8, seed: int) -> tuple[Image, Array8]:
        """Augment a pair; the same seed gives the same result.

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
        """Augment a pair and track its content: False at padding and at filled pixels.

        Args:
            content: (H, W), True at the content before augmentation.
        """
        before = np.where(content, _CONTENT, np.uint8(0))
        image, mask, after = self._apply(seed, image=image, mask=mask, content=before)
        return image, mask, np.asarray(after) == _CONTENT

    def _apply(self, seed: int, **targets: NDArray[Any]) -> tuple[Image, Array8, Array8 | None]:
        image, mask, content = targets["image"], targets["mask"], targets.get("content")
        if self._compose is None:
            return image, mask, content
        # Global seeds have no effect on it. `set_random_seed` would give every step a generator of
        # its own with the same seed: all then act together, and 3 of 10 images stay unchanged.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311
        result = self._compose(**targets)
        # Every sample is compared, not only those of the check before trial 0: a rare branch of a
        # user's step can change a size or a type.
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
    """Build a preset, or the steps in a YAML file of albumentations.

    The pipeline is not tried: `harness.data.loading.augment_check.check_augmentation` does that
    once for each study.

    Args:
        folder: folder of the files.
        data: meaning of the masks: in multiclass tasks, presets fill pixels from outside the image
            with IGNORE_INDEX instead of class 0. None: two classes.

    Raises:
        ConfigError: unknown preset or file, unknown steps or arguments.
    """
    data = StudyDataConfig() if data is None else data
    return AugmentationPipeline(name, *load_steps(name, folder, data), AllowedMaskValues(data))


def load_steps(name: str, folder: Path | None, data: StudyDataConfig) -> tuple[list[Step], float]:
    """Load the steps of a preset or a file, and the probability of the whole chain.

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
    """Find the first of the folders that contains the file `name`; None for a preset.

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
    """Convert an image for `AugmentationPipeline`: uint8 unchanged, others to float32 in [0, 1].

    Args:
        image: uint8 or uint16.
        value_range: values of uint16 that become 0 and 1.
    """
    if image.dtype == np.uint8:
        return image
    low, high = value_range
    scaled = (image.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.asarray(np.clip(scaled, 0.0, 1.0))


def _light(_: int) -> list[Any]:
    """Flips (an endoscope has no upright position) and slight changes of brightness."""
    return [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.5),
    ]


def _medium(outside: int) -> list[Any]:
    """The light preset with rotation, scale, shift and changes of colour as by another lamp."""
    return [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        _affine(scale=0.15, shift=0.06, degrees=45, outside=outside, p=0.7),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        # Value stays: RandomBrightnessContrast changes it already.
        A.HueSaturationValue(hue_shift_limit=8, sat_shift_limit=20, val_shift_limit=0, p=0.4),
    ]


def _strong(outside: int) -> list[Any]:
    """The medium preset, stronger, with distortion, blur, noise and covered regions."""
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
        # Only the image is covered, not the mask: the network learns to complete hidden polyps.
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
