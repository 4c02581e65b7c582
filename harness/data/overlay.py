"""What a prediction got right and wrong, drawn over its image."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Array8 = NDArray[np.uint8]
Colour = tuple[int, int, int]

# RGB, after Okabe and Ito (2008), made lighter to stand out on red mucosa: they stay apart for
# every common kind of colour blindness, and differ in brightness too.
COLOURS: Final[dict[str, Colour]] = {
    "hit": (0, 190, 140),
    "miss": (250, 230, 60),
    "false alarm": (30, 80, 230),
}
_FILL = 0.45  # share of the colour inside a region; its contour is opaque


def overlay(image: Array8, truth: Array8, prediction: Array8) -> Array8:
    """The image with hits, misses and false alarms in `COLOURS`, each with a contour.

    Args:
        image: uint8 (H, W, 3), RGB.
        truth: (H, W), 0 or 1.
        prediction: (H, W), 0 or 1.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ValueError: when the three differ in size.
    """
    if not image.shape[:2] == truth.shape == prediction.shape:
        raise ValueError(f"sizes differ: {image.shape}, {truth.shape}, {prediction.shape}")
    said, true = prediction.astype(bool), truth.astype(bool)
    regions = {"hit": said & true, "miss": true & ~said, "false alarm": said & ~true}
    canvas = image.copy()
    for name, region in regions.items():
        colour = np.array(COLOURS[name], np.float32)
        mixed = (1 - _FILL) * canvas[region] + _FILL * colour
        canvas[region] = np.rint(mixed).astype(np.uint8)
        canvas[_contour(region, max(1, round(min(truth.shape) / 200)))] = COLOURS[name]
    return canvas


def _contour(region: NDArray[np.bool_], width_px: int) -> NDArray[np.bool_]:
    """The pixels of a region within `width_px` of its edge; the border of the picture is none."""
    kernel = np.ones((2 * width_px + 1, 2 * width_px + 1), np.uint8)
    inside = cv2.erode(region.astype(np.uint8), kernel) > 0
    return region & ~inside
