"""Draw the parameters of augmentation steps without applying them, for a device that applies them.

albumentations itself draws: a seed gives the parameters with which `AugmentationPipeline` changes
an image, so that both ways have one distribution, and even the same augmentation of each image.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import albumentations as A  # noqa: N812 (its own convention)
import cv2
import numpy as np
from numpy.typing import NDArray

from harness.data.loading.augment_file import Step

Values = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class DrawnStep:
    """One step, with its parameters for those images of a batch on which it acts.

    Attributes:
        name: its class in albumentations.
        rows: int64 (n,), positions of the images in the batch, ascending.
        values: parameters by name, (n, …); see `_READERS`.
        fill: value of image pixels from outside, or of covered ones.
        fill_mask: value of mask pixels from outside.
    """

    name: str
    rows: NDArray[np.int64]
    values: Values
    fill: float
    fill_mask: int

    @property
    def can_lose_content(self) -> bool:
        """True if pixels of the result may come from outside of the image."""
        return self.name in ("Affine", "GridDistortion")


class AugmentationDraws:
    """Call with one seed for each image of a batch: the steps that act, in their order.

    Args:
        steps: a chain that `unsupported_step` accepts; they are changed, and can then only draw.
        p: probability of the whole chain.
        image_shape: (H, W, C) of all images, which are uint8.
    """

    def __init__(self, steps: Sequence[Step], p: float, image_shape: tuple[int, ...]) -> None:
        self._leaves = list(_leaf_steps(steps))
        for leaf in self._leaves:
            leaf.apply_with_params = _keep_targets
            if type(leaf) is A.GaussNoise:
                leaf.get_params_dependent_on_data = MethodType(_draw_noise_level, leaf)
        self._compose = A.Compose(list(steps), p=p) if steps else None
        self._image = np.zeros(image_shape, np.uint8)

    def __call__(self, seeds: Sequence[int]) -> list[DrawnStep]:
        """Draw; seeds as for `AugmentationPipeline`, each independent of the others."""
        if self._compose is None:
            return []
        drawn: list[dict[int, Values]] = [{} for _ in self._leaves]
        for row, seed in enumerate(seeds):
            for leaf in self._leaves:
                leaf.params = {}
            # As in `AugmentationPipeline`, so that the same numbers are drawn.
            self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311
            self._compose(image=self._image)
            for leaf, values in zip(self._leaves, drawn, strict=True):
                if leaf.params:  # it acts on this image
                    values[row] = _READERS[type(leaf)](leaf.params)
        return [
            DrawnStep(
                name=type(leaf).__name__,
                rows=np.array(list(values), np.int64),
                values=_stack(list(values.values())),
                fill=float(getattr(leaf, "fill", 0)),
                fill_mask=int(getattr(leaf, "fill_mask", None) or 0),
            )
            for leaf, values in zip(self._leaves, drawn, strict=True)
            if values
        ]


def unsupported_step(steps: Sequence[Step], channels: int) -> str | None:
    """Name of the first step that only albumentations itself can apply; None if there is none."""
    for step in steps:
        if type(step) in (A.OneOf, A.Sequential):
            if (name := unsupported_step(step.transforms, channels)) is not None:
                return name
        elif type(step) not in _READERS or not _has_known_arguments(step, channels):
            return type(step).__name__
    return None


def fill_values(steps: Sequence[Step]) -> set[int]:
    """Values that the steps of a supported chain write into masks."""
    moving = (leaf for leaf in _leaf_steps(steps) if type(leaf) in (A.Affine, A.GridDistortion))
    return {int(leaf.fill_mask) for leaf in moving}


def _leaf_steps(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, A.BaseCompose):
            yield from _leaf_steps(step.transforms)
        else:
            yield step


def _has_known_arguments(step: Step, channels: int) -> bool:
    """True if the arguments of a step select the behaviour that a device imitates."""
    match step:
        case A.Affine() | A.GridDistortion():
            return (
                not getattr(step, "fit_output", False)
                and step.interpolation == cv2.INTER_LINEAR
                and step.mask_interpolation == cv2.INTER_NEAREST
                and step.border_mode == cv2.BORDER_CONSTANT
                and isinstance(step.fill, int | float)
                and isinstance(step.fill_mask, int | float)
            )
        case A.RandomBrightnessContrast():
            return bool(step.brightness_by_max)
        case A.HueSaturationValue():
            return channels == 3
        case A.GaussNoise():
            return bool(step.per_channel) and step.noise_scale_factor == 1
        case A.CoarseDropout():
            return isinstance(step.fill, int | float) and step.fill_mask is None
    return True


def _keep_targets(_: Mapping[str, Any], **targets: Any) -> dict[str, Any]:
    """Replacement of `BasicTransform.apply_with_params`, which changes nothing."""
    return targets


def _draw_noise_level(self: Step, **_: Any) -> dict[str, float]:
    """Replacement of GaussNoise's method, which draws the noise of every pixel as well."""
    level = {
        "std": self.py_random.uniform(*self.std_range),
        "mean": self.py_random.uniform(*self.mean_range),
    }
    self.random_generator.integers(0, 2**16)  # OpenCV's seed: later steps draw what follows it
    return level


def _read_matrix(params: Mapping[str, Any]) -> Values:
    return {"matrix": params["matrix"]}


def _read_maps(params: Mapping[str, Any]) -> Values:
    # All rows of map_x are equal, and all columns of map_y.
    return {"x": params["map_x"][0], "y": params["map_y"][:, 0]}


def _read_kernel(params: Mapping[str, Any]) -> Values:
    kernel = params["kernel"]
    return {"kernel": np.outer(kernel, kernel) if kernel.ndim == 1 else kernel}


def _read_numbers(*names: str) -> Callable[[Mapping[str, Any]], Values]:
    return lambda params: {name: np.array(params[name], np.float32) for name in names}


def _read_holes(params: Mapping[str, Any]) -> Values:
    return {"holes": params["holes"].reshape(-1, 4)}


# What is read of each step: `matrix` (3, 3) from old to new pixels; `x` (W,) and `y` (H,), the old
# column and row of each new one; `alpha`, `beta`: new = alpha old + beta; shifts in OpenCV's units
# (hue 0 to 180, others 0 to 255); `kernel` (k, k); `std` and `mean` in shares of 255; `holes`
# (n, 4): left, top, right, bottom, the last two exclusive.
_READERS: dict[type, Callable[[Mapping[str, Any]], Values]] = {
    A.HorizontalFlip: _read_numbers(),
    A.VerticalFlip: _read_numbers(),
    A.Affine: _read_matrix,
    A.GridDistortion: _read_maps,
    A.RandomBrightnessContrast: _read_numbers("alpha", "beta"),
    A.HueSaturationValue: _read_numbers("hue_shift", "sat_shift", "val_shift"),
    A.GaussianBlur: _read_kernel,
    A.MotionBlur: _read_kernel,
    A.GaussNoise: _read_numbers("std", "mean"),
    A.CoarseDropout: _read_holes,
}


def _stack(drawn: Sequence[Values]) -> Values:
    return {name: _stack_padded(name, [values[name] for values in drawn]) for name in drawn[0]}


def _stack_padded(name: str, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Stack arrays of one shape; kernels and holes get zeros up to the largest of them."""
    if name == "kernel":  # of odd sides: it stays in the middle
        side = max(len(kernel) for kernel in arrays)
        arrays = [np.pad(kernel, (side - len(kernel)) // 2) for kernel in arrays]
    elif name == "holes":
        n_holes = max(len(holes) for holes in arrays)
        arrays = [np.pad(holes, ((0, n_holes - len(holes)), (0, 0))) for holes in arrays]
    return np.stack(arrays)
