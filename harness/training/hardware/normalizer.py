"""Normalisation of cached images into the inputs of a network."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.config.data import StudyDataConfig
from harness.config.study import TrialConfig
from harness.data.files.resize import content_masks
from harness.models.weights import IMAGENET_MEAN, IMAGENET_STD, input_statistics

ImageArray = NDArray[Any]  # uint8, uint16 or float32; or a tensor of uint8 on the device


@dataclass(frozen=True)
class ImageNormalizer:
    """Call with images (N, H, W, C): (x - mean) / std as float32 (N, C, H, W).

    x is on the scale 0..1: uint8 and uint16 are stored values that `range` maps to it, float32 is
    on it already. `mean` and `std` have one value per channel; None uses those of each image and
    channel, over its content alone, and sets padding to 0.
    """

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    range: tuple[float, float] = (0.0, 255.0)

    @property
    def is_per_image(self) -> bool:
        """True if the statistics are those of each image, so that its content must be known."""
        return self.mean is None or self.std is None

    def __call__(
        self, images: ImageArray, device: torch.device, content: NDArray[np.bool_] | None = None
    ) -> Tensor:
        """Args: content: (N, H, W), True at pixels that are not padding; None: everywhere."""
        pixels = self._scale_pixels(images, device)
        if self.mean is None or self.std is None:
            return self.standardize_per_image(
                pixels, None if content is None else to_device(content, device)
            )
        return (pixels - _channel_tensor(self.mean, device)) / _channel_tensor(self.std, device)

    def normalize_in_boxes(
        self, images: ImageArray, device: torch.device, boxes: NDArray[np.int64]
    ) -> Tensor:
        """Normalise images whose content is given as boxes (N, 4), see `ImageCache.boxes`."""
        size = (int(images.shape[1]), int(images.shape[2]))
        return self(images, device, content_masks(boxes, size) if self.is_per_image else None)

    def standardize_per_image(self, pixels: Tensor, content: Tensor | None) -> Tensor:
        """Subtract the mean of each image and channel, and divide by its standard deviation.

        Args:
            pixels: (N, C, H, W) on the scale 0..1.
            content: booleans (N, H, W), True at pixels that are not padding; None: everywhere.
        """
        # One grey level at least, so that an image of one colour becomes 0 and not NaN.
        min_std = min(1 / 255, 1 / (self.range[1] - self.range[0]))
        if content is None:
            # correction=0 as in the branch below: padding must not change the formula.
            std, mean = torch.std_mean(pixels, dim=(2, 3), keepdim=True, correction=0)
            return (pixels - mean) / std.clamp_min(min_std)
        content_mask = content.unsqueeze(1)
        # At least 1: augmentation may have moved the content out of the image.
        n = content_mask.sum(dim=(2, 3), keepdim=True).clamp_min(1)
        mean = (pixels * content_mask).sum(dim=(2, 3), keepdim=True) / n
        centred = (pixels - mean) * content_mask
        std = (centred.square().sum(dim=(2, 3), keepdim=True) / n).sqrt()
        return centred / std.clamp_min(min_std)

    def _scale_pixels(self, images: ImageArray, device: torch.device) -> Tensor:
        # Integers are copied to the device and converted there: a quarter of the traffic of floats.
        if images.dtype == np.uint16:  # a type of torch that hardly any of its operations support
            # The mask undoes the sign of int16: 65535 arrives as -1.
            values = to_device(images.view(np.int16), device).int() & 0xFFFF
        else:
            values = to_device(images, device)
        pixels = values.permute(0, 3, 1, 2).float()
        if images.dtype == np.float32:
            return pixels
        low, high = self.range
        scaled = pixels / high if low == 0 else (pixels - low) / (high - low)
        # Clipped to 0..1, as the training batches are.
        return scaled.clamp_(0.0, 1.0) if images.dtype == np.uint16 else scaled


def build_normalizer(config: TrialConfig, data: StudyDataConfig) -> ImageNormalizer:
    """Build the normalizer that `data.normalize` selects, for this model and these images.

    The statistics are those of red, green and blue. Images with another number of channels get the
    mean of the three in every channel, since the meaning of their channels is unknown.
    """
    match config.data.normalize:
        case "imagenet":
            mean, std = IMAGENET_MEAN, IMAGENET_STD
        case "encoder":
            mean, std = input_statistics(config.model)
        case "per_image":
            return ImageNormalizer(None, None, data.range)
        case "none":
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    n = data.channels
    return ImageNormalizer(
        _spread_over_channels(mean, n), _spread_over_channels(std, n), data.range
    )


def _spread_over_channels(rgb_values: tuple[float, float, float], n: int) -> tuple[float, ...]:
    return rgb_values if n == 3 else (sum(rgb_values) / 3,) * n


@lru_cache
def _channel_tensor(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Tensor (1, C, 1, 1) of one number per channel, cached: it is copied to a device once."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


def to_device(array: NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """Copy an array to a device; on the CPU too, if the array is read-only or not contiguous.

    A tensor is on its device already, see `harness.training.on_device`.
    """
    if isinstance(array, Tensor):
        return array
    # "W" copies read-only arrays such as memory-mapped files: torch warns of those, and a network
    # that works in place would fault.
    tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
