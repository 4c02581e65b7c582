"""What a prediction got right and wrong, drawn over its image."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX
from harness.data.files.palette import CLASS_COLOURS, VOID_COLOUR, Colour

Array8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]

# RGB, after Okabe and Ito (2008), made lighter to stand out on red mucosa: they stay apart for
# every common kind of colour blindness, and differ in brightness too.
COLOURS: Final[dict[str, Colour]] = {
    "hit": (0, 190, 140),
    "miss": (250, 230, 60),
    "false alarm": (30, 80, 230),
}
_FILL = 0.45  # share of the colour inside a region; its contour is opaque
_STRIPES: Final[tuple[Colour, ...]] = ((0, 0, 0), (255, 255, 255))  # seen on any colour


def draw_overlay(image: Array8, truth: Array8, prediction: Array8) -> Array8:
    """The image with hits, misses and false alarms in `COLOURS`, each with a contour.

    Args:
        image: uint8 (H, W, 3), RGB.
        truth: (H, W), 0 or 1; VOID, where nothing is right or wrong, becomes grey.
        prediction: (H, W), 0 or 1.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ValueError: when the three differ in size.
    """
    if not image.shape[:2] == truth.shape == prediction.shape:
        raise ValueError(f"sizes differ: {image.shape}, {truth.shape}, {prediction.shape}")
    void = truth == IGNORE_INDEX
    predicted, true = prediction.astype(bool) & ~void, truth.astype(bool) & ~void
    regions = {
        "hit": predicted & true,
        "miss": true & ~predicted,
        "false alarm": predicted & ~true & ~void,
    }
    canvas = image.copy()
    for name, region in regions.items():
        _paint(canvas, region, COLOURS[name])
    _paint(canvas, void, VOID_COLOUR)
    return canvas


def _paint(canvas: Array8, region: Bools, colour: Colour) -> None:
    mixed = (1 - _FILL) * canvas[region] + _FILL * np.array(colour, np.float32)
    canvas[region] = np.rint(mixed).astype(np.uint8)
    canvas[_contour(region, _line_px(canvas))] = colour


def draw_class_overlay(
    image: Array8, labels: Array8, *, wrong: Bools | None = None, plain: Collection[int] = ()
) -> Array8:
    """The image with each class in its colour and with a contour; VOID is grey.

    Args:
        image: uint8 (H, W, 3), RGB.
        labels: class indices and VOID (H, W), or planes (H, W, K) in {0, 1} with VOID; where
            several classes are, their colours are mixed.
        wrong: (H, W), the pixels to be hatched.
        plain: indices of classes that are left as they are.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ValueError: when image and labels differ in size.
    """
    if image.shape[:2] != labels.shape[:2]:
        raise ValueError(f"sizes differ: {image.shape}, {labels.shape}")
    regions = [(colour, region) for colour, region in _regions(labels, plain) if region.any()]
    colours, painted = _mix_colours(regions, labels.shape[:2])
    canvas = image.copy()
    mixed = (1 - _FILL) * canvas[painted] + _FILL * colours[painted]
    canvas[painted] = np.rint(mixed).astype(np.uint8)
    for colour, region in regions:
        canvas[_contour(region, _line_px(canvas))] = colour
    if wrong is not None:
        _hatch(canvas, wrong)
    return canvas


def draw_class_map(labels: Array8, *, plain: Collection[int] = ()) -> Array8:
    """Each class in its colour on black, RGB uint8 (H, W, 3); arguments as in
    `draw_class_overlay`.
    """
    colours, _ = _mix_colours(list(_regions(labels, plain)), labels.shape[:2])
    return np.asarray(np.rint(colours), np.uint8)


def wrong_pixels(truth: Array8, prediction: Array8) -> Bools:
    """Where the prediction differs from the truth, (H, W); nowhere where the truth is VOID."""
    differs = (truth != prediction) & (truth != IGNORE_INDEX)
    return np.asarray(differs if differs.ndim == 2 else differs.any(axis=2), np.bool_)


def background_classes(classes: Sequence[str]) -> frozenset[int]:
    """Indices of classes that would hide the image: those called background."""
    return frozenset(k for k, name in enumerate(classes) if name.lower() == "background")


def as_rgb(image: NDArray[Any], span: tuple[float, float]) -> Array8:
    """An image (H, W, C) of any type to look at: uint8 (H, W, 3), in one piece.

    The stored values `span` become 0 and 255. Fewer than three channels: the first one, grey; of
    more, the first three.
    """
    channels = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)
    if channels.dtype == np.uint8 and span == (0.0, 255.0):
        return np.ascontiguousarray(channels, np.uint8)
    scaled = (channels.astype(np.float32) - span[0]) * (255 / (span[1] - span[0]))
    return np.asarray(np.rint(np.clip(scaled, 0, 255)), np.uint8)


def _regions(labels: Array8, plain: Collection[int]) -> Iterator[tuple[Colour, Bools]]:
    """The colour and the pixels (H, W) of each class that is painted, then of VOID."""
    if labels.ndim == 2:
        indices = [int(k) for k in np.unique(labels) if k != IGNORE_INDEX]
        planes = {k: labels == k for k in indices}
        void = labels == IGNORE_INDEX
    else:
        planes = {k: labels[..., k] == 1 for k in range(labels.shape[2])}
        void = (labels == IGNORE_INDEX).any(axis=2)
    for k, region in planes.items():
        if k not in plain:
            yield CLASS_COLOURS[k % len(CLASS_COLOURS)], region
    yield VOID_COLOUR, void


def _mix_colours(
    regions: Sequence[tuple[Colour, Bools]], size: tuple[int, ...]
) -> tuple[NDArray[np.float64], Bools]:
    """The mean colour of the regions at each pixel (H, W, 3), and where there are any (H, W)."""
    total, count = np.zeros((*size, 3)), np.zeros(size)
    for colour, region in regions:
        total[region] += np.array(colour)
        count[region] += 1
    return total / np.maximum(count, 1)[..., None], count > 0


def _hatch(canvas: Array8, region: Bools) -> None:
    """Diagonal stripes in black and white with gaps between, so that the class shows through."""
    width = _line_px(canvas)
    ys, xs = np.nonzero(region)
    stripe = (xs + ys) // width % 6
    for k, colour in enumerate(_STRIPES):
        canvas[ys[stripe == k], xs[stripe == k]] = colour


def _line_px(canvas: Array8) -> int:
    height, width = canvas.shape[:2]
    return max(1, round(min(int(height), int(width)) / 200))


def _contour(region: NDArray[np.bool_], width_px: int) -> NDArray[np.bool_]:
    """The pixels of a region within `width_px` of its edge; the border of the picture is none."""
    kernel = np.ones((2 * width_px + 1, 2 * width_px + 1), np.uint8)
    inside = cv2.erode(region.astype(np.uint8), kernel) > 0
    return region & ~inside
