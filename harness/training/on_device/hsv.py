"""Colours as hue, saturation and value in OpenCV's units of uint8 images, for batches of images.

Source: OpenCV's documentation of cvtColor, RGB <-> HSV.
"""

import torch
from torch import Tensor


def rgb_to_hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Convert (N, 3, H, W), whole numbers from 0 to 255.

    Returns:
        Hue in 0 to 179, saturation and value in 0 to 255, each (N, H, W), of whole numbers.
    """
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    divisor = chroma.clamp_min(1)  # grey: all differences are 0
    sectors = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    hue = torch.where(chroma == 0, 0.0, torch.remainder((30 * sectors + 0.5).floor(), 180))
    saturation = (255 * chroma / value.clamp_min(1) + 0.5).floor()
    return hue, saturation, value


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Convert what `rgb_to_hsv` returns to (N, 3, H, W).

    Rounded down, as OpenCV 5.0 does on x86-64 (measured).
    """
    sectors = hue / 30
    # Distance of each colour from its own place on the circle of six sectors: 5, 3 and 1.
    offsets = torch.arange(5, 0, -2, device=hue.device).view(1, 3, 1, 1)
    k = torch.remainder(offsets + sectors[:, None], 6)
    share = torch.minimum(k, 4 - k).clamp(0, 1)
    return (value[:, None] * (1 - saturation[:, None] / 255 * share)).floor_()
