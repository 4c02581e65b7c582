"""From cached uint8 pictures to what the network sees."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.config import TrialConfig
from harness.models.weights import IMAGENET_MEAN, IMAGENET_STD, input_statistics


@dataclass(frozen=True)
class Normalise:
    """Call with images uint8 (N, H, W, 3): (x / 255 - mean) / std, as float32 (N, 3, H, W).

    `mean` and `std` are on the scale 0..1; None takes those of each image and channel.
    """

    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None

    def __call__(self, images: NDArray[Any], device: torch.device) -> Tensor:
        # Bytes travel, floats are made where they are needed: a quarter of the traffic.
        pixels = to_device(images, device).permute(0, 3, 1, 2).float() / 255
        if self.mean is None or self.std is None:
            std, mean = torch.std_mean(pixels, dim=(2, 3), keepdim=True, correction=0)
            return (pixels - mean) / std.clamp_min(1 / 255)  # a picture of one colour becomes 0
        mean = torch.tensor(self.mean, device=device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=device).view(1, 3, 1, 1)
        return (pixels - mean) / std


def build_normalise(config: TrialConfig) -> Normalise:
    """What `data.normalize` says, for this model."""
    match config.data.normalize:
        case "imagenet":
            return Normalise(IMAGENET_MEAN, IMAGENET_STD)
        case "encoder":
            return Normalise(*input_statistics(config.model))
        case "per_image":
            return Normalise(None, None)
        case "none":
            return Normalise((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """A tensor of an array's values on `device`; the array itself is never shared."""
    tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))  # copies mapped files
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
