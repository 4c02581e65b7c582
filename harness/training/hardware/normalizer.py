"""From cached pictures to what the network sees."""

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

ImageArray = NDArray[Any]  # uint8, uint16 or float32


@dataclass(frozen=True)
class ImageNormalizer:
    """Call with images (N, H, W, C): (x - mean) / std as float32 (N, C, H, W).

    x is on the scale 0..1. uint8 and uint16 are stored values, which `range` brings to it; float32
    is on it already.
    `mean` and `std` have a value for each channel; None takes those of each image and channel, over
    its content alone, and makes what is not content 0: padding says nothing about a picture.
    """

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    range: tuple[float, float] = (0.0, 255.0)

    @property
    def is_per_image(self) -> bool:
        """Whether statistics are those of each image, so that its content must be known."""
        return self.mean is None or self.std is None

    def __call__(
        self, images: ImageArray, device: torch.device, content: NDArray[np.bool_] | None = None
    ) -> Tensor:
        """Args: content: (N, H, W), where a picture is and not padding; None: everywhere."""
        pixels = self._scale_pixels(images, device)
        if self.mean is None or self.std is None:
            return self._standardize_per_image(
                pixels, None if content is None else to_device(content, device)
            )
        return (pixels - _channel_tensor(self.mean, device)) / _channel_tensor(self.std, device)

    def normalize_in_boxes(
        self, images: ImageArray, device: torch.device, boxes: NDArray[np.int64]
    ) -> Tensor:
        """As a call; `boxes` (N, 4) say where the content is, as in
        `harness.data.loading.image_cache`.
        """
        size = (int(images.shape[1]), int(images.shape[2]))
        return self(images, device, content_masks(boxes, size) if self.is_per_image else None)

    def _standardize_per_image(self, pixels: Tensor, content: Tensor | None) -> Tensor:
        min_std = min(1 / 255, 1 / (self.range[1] - self.range[0]))
        if content is None:
            std, mean = torch.std_mean(pixels, dim=(2, 3), keepdim=True, correction=0)
            return (pixels - mean) / std.clamp_min(min_std)  # a picture of one colour becomes 0
        content_mask = content.unsqueeze(1)
        n = content_mask.sum(dim=(2, 3), keepdim=True).clamp_min(
            1
        )  # it may be moved out of the picture
        mean = (pixels * content_mask).sum(dim=(2, 3), keepdim=True) / n
        centred = (pixels - mean) * content_mask
        std = (centred.square().sum(dim=(2, 3), keepdim=True) / n).sqrt()
        return centred / std.clamp_min(min_std)

    def _scale_pixels(self, images: ImageArray, device: torch.device) -> Tensor:
        # Integers travel, floats are made where they are needed: a quarter of the traffic.
        if images.dtype == np.uint16:  # torch knows the type, but hardly any of its operations do
            values = to_device(images.view(np.int16), device).int() & 0xFFFF
        else:
            values = to_device(images, device)
        pixels = values.permute(0, 3, 1, 2).float()
        if images.dtype == np.float32:
            return pixels
        low, high = self.range
        scaled = pixels / high if low == 0 else (pixels - low) / (high - low)
        return scaled.clamp_(0.0, 1.0) if images.dtype == np.uint16 else scaled  # as in training


def build_normalizer(config: TrialConfig, data: StudyDataConfig) -> ImageNormalizer:
    """What `data.normalize` says, for this model and these images.

    Statistics are of colours. Images of other than three channels get their mean over the three
    in every channel: which of them is red nobody knows.
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
    """A number for each channel, (1, C, 1, 1), sent to the device once and not with every batch."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """A tensor of an array's values on `device`; the array itself is never shared."""
    tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))  # copies mapped files
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
