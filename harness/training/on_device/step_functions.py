"""Apply drawn augmentation steps to the images of a batch together, on their device.

Each function imitates its step of albumentations on uint8 images, with its rounding: after each
step the pixels are whole numbers from 0 to 255. Never run on a GPU yet; tested on the CPU against
albumentations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.data.loading.augment_draws import DrawnStep
from harness.training.hardware.normalizer import to_device
from harness.training.on_device.hsv import hsv_to_rgb, rgb_to_hsv


@dataclass
class AugmentedBatch:
    """Batch that steps change in place.

    Attributes:
        images: float32 (N, C, H, W), whole numbers from 0 to 255.
        masks: uint8 (N, P, H, W).
        content: uint8 (N, 1, H, W), 1 at content and 0 at padding; None: not tracked.
        seeds: of the noise of each image.
    """

    images: Tensor
    masks: Tensor
    content: Tensor | None
    seeds: Sequence[int]


def apply_step(batch: AugmentedBatch, step: DrawnStep) -> None:
    """Apply a step to its rows of the batch."""
    device = batch.images.device
    rows = to_device(step.rows, device)
    if step.name in _MOVES:
        _move(batch, step, rows)
    elif step.name == "GaussNoise":
        _add_noise(batch, step)
    else:
        values = {name: to_device(array, device) for name, array in step.values.items()}
        batch.images[rows] = _CHANGES[step.name](batch.images[rows], values, step.fill)


def _move(batch: AugmentedBatch, step: DrawnStep, rows: Tensor) -> None:
    """Move the pixels of images, masks and content together."""
    move = _MOVES[step.name](step, batch.images)
    batch.images[rows] = move(batch.images[rows], step.fill, "bilinear").round_()
    batch.masks[rows] = move(batch.masks[rows], step.fill_mask, "nearest")
    if batch.content is not None:
        batch.content[rows] = move(batch.content[rows], 0, "nearest")


Move = Callable[[Tensor, float, str], Tensor]


def _flip(dimension: int) -> Callable[[DrawnStep, Tensor], Move]:
    return lambda step, images: lambda pixels, fill, mode: pixels.flip(dimension)


def _affine(step: DrawnStep, images: Tensor) -> Move:
    """Sample along the inverse of each image's matrix."""
    # In 64 bits on the CPU: a device may have none. One number for each image and coefficient.
    inverse = np.linalg.inv(step.values["matrix"]).astype(np.float32)[:, :2, :, None, None]
    (a, b, c), (d, e, f) = to_device(inverse, images.device).permute(1, 2, 0, 3, 4)
    x, y = _pixel_coordinates(images)
    return _sampler(a * x + b * y + c, d * x + e * y + f)


def _grid(step: DrawnStep, images: Tensor) -> Move:
    """Sample at a column of each column, and a row of each row."""
    x, y = (to_device(step.values[name], images.device) for name in ("x", "y"))
    height, width = images.shape[-2:]
    return _sampler(x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width))


def _sampler(x: Tensor, y: Tensor) -> Move:
    """Sample pixels at the columns x and rows y, (N, H, W) in pixels from the first one."""
    height, width = x.shape[-2:]
    # grid_sample counts from -1 at the left edge of the first pixel to 1 at the last one's right.
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)

    def sample(pixels: Tensor, fill: float, mode: str) -> Tensor:
        # Outside is 0, so the fill is subtracted first. uint8 values are exact in float32.
        shifted = pixels.float() - fill
        sampled = functional.grid_sample(shifted, grid, mode, "zeros", align_corners=False)
        return (sampled + fill).to(pixels.dtype)

    return sample


def _pixel_coordinates(images: Tensor) -> tuple[Tensor, Tensor]:
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device, dtype=torch.float32)
    y = torch.arange(height, device=images.device, dtype=torch.float32)
    return x[None, None, :], y[None, :, None]


def _truncate(pixels: Tensor) -> Tensor:
    """To whole numbers from 0 to 255 as albumentations converts floats: rounded down."""
    return pixels.clamp_(0, 255).floor_()


def _change_brightness(images: Tensor, values: dict[str, Tensor], _: float) -> Tensor:
    alpha, beta = (values[name].view(-1, 1, 1, 1) for name in ("alpha", "beta"))
    return _truncate(images * alpha + beta)


def _shift_hsv(images: Tensor, values: dict[str, Tensor], _: float) -> Tensor:
    hue, saturation, value = rgb_to_hsv(images)
    shifts = (values[f"{name}_shift"].view(-1, 1, 1) for name in ("hue", "sat", "val"))
    hue_shift, saturation_shift, value_shift = shifts
    hue = torch.remainder(hue + hue_shift, 180).floor_()
    # Grey pixels have no hue and stay grey.
    shifted = torch.where(saturation == 0, 0.0, _add_level(saturation, saturation_shift))
    return hsv_to_rgb(hue, shifted, _add_level(value, value_shift))


def _add_level(values: Tensor, shift: Tensor) -> Tensor:
    """Add the whole part of a shift, as albumentations does to uint8."""
    return (values + shift.trunc()).clamp_(0, 255)


def _convolve(images: Tensor, values: dict[str, Tensor], _: float) -> Tensor:
    """Convolve each image with its own kernel, mirrored at the border."""
    kernels = values["kernel"].float()
    n, channels, height, width = images.shape
    # One group for each channel of each image.
    weights = kernels.repeat_interleave(channels, 0)[:, None]
    margin = kernels.shape[-1] // 2
    padded = functional.pad(images, (margin,) * 4, mode="reflect")
    flat = padded.reshape(1, n * channels, height + 2 * margin, width + 2 * margin)
    blurred = functional.conv2d(flat, weights, groups=n * channels)
    return blurred.view(images.shape).round_().clamp_(0, 255)


def _cover(images: Tensor, values: dict[str, Tensor], fill: float) -> Tensor:
    """Fill the rectangles of each image."""
    x, y = (axis[:, None] for axis in _pixel_coordinates(images))  # (1, 1, 1, W), (1, 1, H, 1)
    left, top, right, bottom = values["holes"].permute(2, 0, 1)[..., None, None]
    covered = ((left <= x) & (x < right) & (top <= y) & (y < bottom)).any(1, keepdim=True)
    return images.masked_fill(covered, fill)


def _add_noise(batch: AugmentedBatch, step: DrawnStep) -> None:
    """Add noise to each image from a generator of its own: the batch has no influence."""
    device = batch.images.device
    generator = torch.Generator(device)
    means, deviations = step.values["mean"].tolist(), step.values["std"].tolist()
    for row, mean, std in zip(step.rows.tolist(), means, deviations, strict=True):
        generator.manual_seed(batch.seeds[row])
        image = batch.images[row]
        noise = torch.randn(image.shape, generator=generator, device=device)
        levels = (255 * (mean + std * noise)).trunc_()  # albumentations adds whole levels
        batch.images[row] = (image + levels).clamp_(0, 255)


_MOVES: dict[str, Callable[[DrawnStep, Tensor], Move]] = {
    "HorizontalFlip": _flip(-1),
    "VerticalFlip": _flip(-2),
    "Affine": _affine,
    "GridDistortion": _grid,
}
_CHANGES: dict[str, Callable[[Tensor, dict[str, Tensor], float], Tensor]] = {
    "RandomBrightnessContrast": _change_brightness,
    "HueSaturationValue": _shift_hsv,
    "GaussianBlur": _convolve,
    "MotionBlur": _convolve,
    "CoarseDropout": _cover,
}
