"""From cached pictures to what the network sees."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.config import TrialConfig
from harness.data.resize import content_masks
from harness.data_config import StudyDataConfig
from harness.models.weights import IMAGENET_MEAN, IMAGENET_STD, input_statistics

Images = NDArray[Any]  # uint8, uint16 or float32


@dataclass(frozen=True)
class Normalise:
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
        self, images: Images, device: torch.device, content: NDArray[np.bool_] | None = None
    ) -> Tensor:
        """Args: content: (N, H, W), where a picture is and not padding; None: everywhere."""
        pixels = self._scaled(images, device)
        if self.mean is None or self.std is None:
            return self._per_image(pixels, None if content is None else to_device(content, device))
        return (pixels - _per_channel(self.mean, device)) / _per_channel(self.std, device)

    def in_boxes(self, images: Images, device: torch.device, boxes: NDArray[np.int64]) -> Tensor:
        """As a call; `boxes` (N, 4) say where the content is, as in `harness.data.cache`."""
        size = (int(images.shape[1]), int(images.shape[2]))
        return self(images, device, content_masks(boxes, size) if self.is_per_image else None)

    def _per_image(self, pixels: Tensor, content: Tensor | None) -> Tensor:
        least = min(1 / 255, 1 / (self.range[1] - self.range[0]))
        if content is None:
            std, mean = torch.std_mean(pixels, dim=(2, 3), keepdim=True, correction=0)
            return (pixels - mean) / std.clamp_min(least)  # a picture of one colour becomes 0
        inside = content.unsqueeze(1)
        n = inside.sum(dim=(2, 3), keepdim=True).clamp_min(1)  # it may be moved out of the picture
        mean = (pixels * inside).sum(dim=(2, 3), keepdim=True) / n
        centred = (pixels - mean) * inside
        std = (centred.square().sum(dim=(2, 3), keepdim=True) / n).sqrt()
        return centred / std.clamp_min(least)

    def _scaled(self, images: Images, device: torch.device) -> Tensor:
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


def build_normalise(config: TrialConfig, data: StudyDataConfig) -> Normalise:
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
            return Normalise(None, None, data.range)
        case "none":
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    n = data.channels
    return Normalise(_for_channels(mean, n), _for_channels(std, n), data.range)


def _for_channels(of_colours: tuple[float, float, float], n: int) -> tuple[float, ...]:
    return of_colours if n == 3 else (sum(of_colours) / 3,) * n


@lru_cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """A number for each channel, (1, C, 1, 1), sent to the device once and not with every batch."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """A tensor of an array's values on `device`; the array itself is never shared."""
    tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))  # copies mapped files
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
