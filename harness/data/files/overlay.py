"""Draw predictions and class labels over images in colours for colour-blind readers too."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig

Array8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]

Colour = tuple[int, int, int]

# RGB. The first seven: Okabe and Ito (2008), for every common kind of colour blindness. Each
# further one: the colour of a 15-step grid, neither dark nor pale, that is farthest in CIE 1976 Lab
# from those before it and from VOID_COLOUR, in the worst of normal sight and the three dichromacies
# of Machado, Oliveira and Fernandes (2009). The nearest of the first 20 are 16 apart in that sense;
# a difference below 3 is invisible. A table, so that rounding on another machine cannot change it.
_TABLE: Final = (
    "e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7 9600f0 c3ffa5 693c1e 00ffd2 3c4b5a "
    "87b469 9687ff 692db4 a55a2d d2d2f0 87f069 960087 ffb4a5 695a4b d20fb4 c3a5a5 a5b44b "
    "875af0 964b87 4b1ec3 e1ff00 87b4d2 c30f00 00d21e 87694b a569d2 96005a b4d278 69c387 "
    "5a964b 000fff 78961e ff96ff 780f96 e1f0ff c3b4c3 006900 b478b4 695ad2 ff0078 d2694b "
    "693cd2 005aff ff4bff ffd2c3 00e1a5 c3d24b b4e196 694b96 d2ff69 e1c3ff b4e1e1 fff0c3 "
    "a5003c b487d2 696969 4b782d 78ff87 1eb496 788796 b40078 96b45a 9669e1 4b5a78 a50000 "
    "ff9687 2d8769 f0f0f0 a59669 ffd269 4b4b3c 5a3ca5 e1f01e e1873c c38787 b43c5a 1e4b69 "
    "ff87d2 1e5a2d 2d3ce1 6996f0 e1001e 690fb4 f06900 78a5b4 9669a5 b4b4ff c3c3c3 875ab4 "
    "e1d200 ff5a2d 873cc3 8778c3 c3c35a a5ff78 78a53c f0b43c 00785a b40f96 a5c3e1 96785a "
    "697887 e14b96 b46969 964b3c 87783c fff05a 5aa5c3 873c2d b4c3b4 5ad287 960069 87ff4b "
    "d2004b d24b3c b4a578 4b00e1 c3b41e 782d96 787896 b4c378 b40fff c396e1 96691e 69a50f "
    "a5c369 7896e1 96965a a53ca5 784be1 b4004b 3cf0b4 a54be1 e1e1ff c3e1a5 c3f0a5 3c5a0f "
    "b4f096 c33c69 d296ff e13c87 875a1e f078c3 870f78 87c396 d20087 965ac3 e1d2ff 5a3c87 "
    "ffa5e1 ff3cc3 d2b4f0 2d87d2 6996a5 d2c3d2 1e5a69 9600d2 3c5ac3 96a55a b45af0 c3d2c3 "
    "7800d2 b469b4 96f078 b4ffe1 873ca5 b43cf0 693cb4 4b3cc3 69a587 c39696 965a96 ff874b "
    "ffa5a5 5a2da5 871e4b a5d269 7800ff 871e2d 96b4b4 a50f69 a5e187 783ce1 7887e1 e1e1d2 "
    "b42dd2 d2c3f0 5a69e1 ffc3b4 8787c3 a5f0e1 96ffb4 7800e1 9678a5 3c695a a58778 695a96 "
    "c3e14b 96875a e1b44b e13cd2 d269f0 b42d78 69b43c f01e3c ff69f0 4b69a5 ff3c78 b496a5 "
    "d2e1f0 ff96d2 f0c33c 5a5ab4 96e15a d2c396 4bb44b 785a2d d287b4 781ec3 78c3d2 3c4bf0 "
    "a50078 e15ae1 ff5a87 69f000 b41e1e d2f087 78695a b40000 870087 96f0c3 ff782d 782d5a "
    "5a691e c3d2e1 5a00d2 d2d2d2 960000 1e4b87 b45aff b4ff96 ff3c3c ff87f0 69e1b4 5a875a "
    "c3ff5a 4b963c a54ba5 "
)

CLASS_COLOURS: Final[tuple[Colour, ...]] = tuple(
    (int(text[:2], 16), int(text[2:4], 16), int(text[4:], 16)) for text in _TABLE.split()
)

VOID_COLOUR: Final[Colour] = (128, 128, 128)

# Cividis (Nunez, Anderton and Renslow 2018): from dark blue (0) to yellow (1) with linearly rising
# lightness, and nearly the same to readers with red-green colour blindness.
PROBABILITY_COLOURMAP: Final = cv2.COLORMAP_CIVIDIS

# RGB, after Okabe and Ito (2008), made lighter to stand out on red mucosa: they stay apart for
# every common kind of colour blindness, and differ in brightness too.
COLOURS: Final[dict[str, Colour]] = {
    "hit": (0, 190, 140),
    "miss": (250, 230, 60),
    "false alarm": (30, 80, 230),
}
# RGB of the outlines of truth and prediction, yellow and sky blue: apart for every common kind of
# colour blindness, and on the reds of tissue.
OUTLINE_COLOURS: Final[dict[str, Colour]] = {"truth": (250, 230, 60), "prediction": (86, 180, 233)}
_FILL = 0.45  # share of the colour inside a region; its contour is opaque
_STRIPES: Final[tuple[Colour, ...]] = ((0, 0, 0), (255, 255, 255))  # seen on any colour


def draw_overlay(image: Array8, truth: Array8, prediction: Array8) -> Array8:
    """Draw hits, misses and false alarms over an image in `COLOURS`, each with a contour.

    Args:
        image: uint8 (H, W, 3), RGB.
        truth: (H, W), 0 or 1; IGNORE_INDEX, where nothing counts, is drawn grey.
        prediction: (H, W), 0 or 1.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ValueError: the three differ in size.
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
    """Draw each class over an image in its colour with a contour; ignored pixels are grey.

    Args:
        image: uint8 (H, W, 3), RGB.
        labels: class indices (H, W), or planes (H, W, K) in {0, 1}, both with IGNORE_INDEX; the
            colours of overlapping classes are mixed.
        wrong: (H, W), the pixels to hatch.
        plain: indices of classes that are not drawn.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ValueError: image and labels differ in size.
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


def draw_outlines(image: Array8, outlines: Iterable[tuple[Array8, Colour]]) -> Array8:
    """Draw the outlines of masks over an image, each with a dark line below it.

    Args:
        image: uint8 (H, W, 3), RGB.
        outlines: masks (H, W), 0 or 1, with their colours; later ones are on top.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    canvas = image.copy()
    for mask, colour in outlines:
        contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        # A dark line below a coloured one is visible on every background.
        cv2.drawContours(canvas, contours, -1, (0, 0, 0), 4)
        cv2.drawContours(canvas, contours, -1, colour, 2)
    return canvas


def draw_class_map(labels: Array8, *, plain: Collection[int] = ()) -> Array8:
    """Class colours on black, RGB uint8 (H, W, 3); arguments as in `draw_class_overlay`."""
    colours, _ = _mix_colours(list(_regions(labels, plain)), labels.shape[:2])
    return np.asarray(np.rint(colours), np.uint8)


def wrong_pixels(truth: Array8, prediction: Array8) -> Bools:
    """Mask (H, W) of pixels where prediction and truth differ; ignored pixels never do."""
    differs = (truth != prediction) & (truth != IGNORE_INDEX)
    return np.asarray(differs if differs.ndim == 2 else differs.any(axis=2), np.bool_)


def background_classes(classes: Sequence[str]) -> frozenset[int]:
    """Indices of classes named background, whose colour would hide the image."""
    return frozenset(k for k, name in enumerate(classes) if name.lower() == "background")


def foreground_classes(data: StudyDataConfig) -> list[int]:
    """Indices of the foreground classes, that is of the scored classes without a background."""
    background = () if data.task == "binary" else background_classes(data.classes)
    return [k for k in data.scored_classes if k not in background] or list(data.scored_classes)


def class_palette(classes: Sequence[str]) -> Array8:
    """Colours (K, 3) of the classes as they are drawn; a class named background is black."""
    plain = background_classes(classes)
    colours = [
        (0, 0, 0) if k in plain else CLASS_COLOURS[k % len(CLASS_COLOURS)]
        for k in range(len(classes))
    ]
    return np.array(colours, np.uint8)


def as_rgb(image: NDArray[Any], span: tuple[float, float]) -> Array8:
    """Convert an image (H, W, C) of any type for display: contiguous uint8 (H, W, 3).

    The stored values `span` become 0 and 255. With fewer than three channels the first one is shown
    as grey; with more, the first three are shown.
    """
    channels = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)
    if channels.dtype == np.uint8 and span == (0.0, 255.0):
        return np.ascontiguousarray(channels, np.uint8)
    scaled = (channels.astype(np.float32) - span[0]) * (255 / (span[1] - span[0]))
    return np.asarray(np.rint(np.clip(scaled, 0, 255)), np.uint8)


def _regions(labels: Array8, plain: Collection[int]) -> Iterator[tuple[Colour, Bools]]:
    """Yield colour and pixels (H, W) of each drawn class, then of the ignored pixels."""
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
    """Mean colour of the regions at each pixel (H, W, 3), and True where a region is (H, W)."""
    total, count = np.zeros((*size, 3)), np.zeros(size)
    for colour, region in regions:
        total[region] += np.array(colour)
        count[region] += 1
    return total / np.maximum(count, 1)[..., None], count > 0


def _hatch(canvas: Array8, region: Bools) -> None:
    """Draw diagonal stripes in black and white with gaps, so that the class shows through."""
    width = _line_px(canvas)
    ys, xs = np.nonzero(region)
    stripe = (xs + ys) // width % 6
    for k, colour in enumerate(_STRIPES):
        canvas[ys[stripe == k], xs[stripe == k]] = colour


def _line_px(canvas: Array8) -> int:
    height, width = canvas.shape[:2]
    return max(1, round(min(int(height), int(width)) / 200))


def _contour(region: NDArray[np.bool_], width_px: int) -> NDArray[np.bool_]:
    """Pixels of a region within `width_px` of its edge; the image border is not an edge."""
    kernel = np.ones((2 * width_px + 1, 2 * width_px + 1), np.uint8)
    inside = cv2.erode(region.astype(np.uint8), kernel) > 0
    return region & ~inside
