"""Detect black borders, burnt-in text and panels in images by heuristics.

Each result is a suspicion to show to a person, not a measurement.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Array8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]
Sides = tuple[int, int, int, int]

_BLACK_LEVEL: Final = 24  # of 255: frame grabbers and JPEG do not leave a border at 0
_BLACK_SHARE: Final = 0.99  # of a row or column; the rest may be noise or a speck
_EDGE_DEPTH: Final = (
    0.05  # of the inside; there a circle as high as a 16:9 frame fills 0.24 of a row
)
_SCENE_SHARE: Final = 0.2
_MIN_BRIGHT: Final = 0.5  # of the inside: a circle fills 0.79, nuclei on dark ground up to 0.4
_WORK_SIDE: Final = 720  # px of the shorter side at which characters are looked for
# Of the image's height: characters of video processors measure 0.012 to 0.03 in Kvasir-SEG.
_GLYPH_HEIGHT: Final = (0.007, 0.035)
_MIN_IN_ROW: Final = 4
_MARGIN: Final = (0.15, 0.3)  # share of height, of width, that counts as near the border
_PANEL_SIDE: Final = 160  # px of the shorter side at which panels are looked for
_PANEL: Final = (0.08, 0.6)  # of width and of height
_EDGE_SHARE: Final = 0.7  # of a panel's edge that the scene touches
_MIN_FILL: Final = 0.85  # of its bounding box


def black_border(image: Array8) -> Sides:
    """Widths in pixels of the near-black border of an image (H, W, 3): top, right, bottom, left.

    A row or column belongs to it if 99 % of it is near black, everything outside it is too, and the
    scene begins close to its inner edge: the dark background of a micrograph is not a border.
    """
    bright = _channel_extremes(image)[1] > _BLACK_LEVEL
    top, bottom = _border_widths(bright.mean(axis=1))
    left, right = _border_widths(bright.mean(axis=0))
    inside = bright[top : bright.shape[0] - bottom, left : bright.shape[1] - right]
    return (top, right, bottom, left) if inside.mean() >= _MIN_BRIGHT else (0, 0, 0, 0)


def _border_widths(shares: NDArray[np.float64]) -> tuple[int, int]:
    """Widths of the border at both ends, from the bright share of each row or column."""
    inside = np.flatnonzero(shares > 1 - _BLACK_SHARE)
    if not len(inside):
        return 0, 0
    first, last = int(inside[0]), int(inside[-1])
    depth = round(_EDGE_DEPTH * (last - first))
    before = first if shares[first + depth] >= _SCENE_SHARE else 0
    return before, len(shares) - 1 - last if shares[last - depth] >= _SCENE_SHARE else 0


def _channel_extremes(image: Array8) -> tuple[Array8, Array8]:
    """Smallest and largest channel of each pixel; numpy takes five times as long as OpenCV."""
    red, green, blue = cv2.split(image)
    least, greatest = cv2.min(cv2.min(red, green), blue), cv2.max(cv2.max(red, green), blue)
    return np.asarray(least, np.uint8), np.asarray(greatest, np.uint8)


def burnt_in_text(image: Array8) -> tuple[Box, ...]:
    """Boxes (top, left, height, width), px, of possible text burnt into an image (H, W, 3).

    A heuristic, tuned on endoscopy frames to raise few false alarms, so it misses much: faint text,
    text in colour, text in the middle. Text means a row of at least four small, bright,
    colourless spots of one height on one line, near the border; street signs look like that too.
    """
    scale = min(1.0, _WORK_SIDE / min(image.shape[:2]))
    if scale < 1:
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        image = np.asarray(small, np.uint8)
    height, width = image.shape[:2]
    boxes = []
    for row in _text_rows(_find_glyphs(image)):
        y0, x0 = row[:, 0].min(), row[:, 1].min()
        y1, x1 = (row[:, 0] + row[:, 2]).max(), (row[:, 1] + row[:, 3]).max()
        y, x = (y0 + y1) / 2 / height, (x0 + x1) / 2 / width
        if min(y, 1 - y) < _MARGIN[0] or min(x, 1 - x) < _MARGIN[1]:
            boxes.append(_rescale_box((y0, x0, y1 - y0, x1 - x0), scale))
    return tuple(boxes)


def burnt_in_panels(image: Array8) -> tuple[Box, ...]:
    """Boxes (top, left, height, width), px, of possible panels over an image (H, W, 3).

    A heuristic: a dark rectangle in a corner, next to which the scene begins abruptly, or a solid
    rectangle of strong green to cyan anywhere, as endoscopes use them to show their position.
    """
    scale = min(1.0, _PANEL_SIDE / min(image.shape[:2]))
    # int, since sums such as red + 60 would wrap around in uint8.
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(int)
    height, width = small.shape[:2]
    dark = small.max(axis=2) <= _BLACK_LEVEL
    boxes = []
    for step_y, step_x in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        box = _corner_box(dark[::step_y, ::step_x])
        if box is not None:
            high, wide = box
            y0, x0 = 0 if step_y > 0 else height - high, 0 if step_x > 0 else width - wide
            boxes.append(_rescale_box((y0, x0, high, wide), scale))
    red, green, blue = small[:, :, 0], small[:, :, 1], small[:, :, 2]
    solid = _solid_box((green > red + 60) & (green > 80) & (blue > red + 20))
    return (*boxes, *([] if solid is None else [_rescale_box(solid, scale)]))


def _rescale_box(box: Box, scale: float) -> Box:
    y, x, high, wide = (round(float(side) / scale) for side in box)
    return y, x, high, wide


def _find_glyphs(image: Array8) -> NDArray[np.int64]:
    """Spots of the size and brightness of characters: rows of top, left, height, width."""
    height = image.shape[0]
    darkest, brightest = _channel_extremes(image)
    side = max(5, round(_GLYPH_HEIGHT[1] * height) | 1)
    background = cv2.morphologyEx(brightest, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    spots = (darkest > 110) & (brightest - darkest < 50) & (brightest - background > 50)
    _, _, stats, _ = cv2.connectedComponentsWithStats(spots.astype(np.uint8), connectivity=8)
    x, y, wide, high, area = stats[1:].T.astype(np.int64)
    low, most = max(4.0, _GLYPH_HEIGHT[0] * height), max(8.0, _GLYPH_HEIGHT[1] * height)
    likely = (high >= low) & (high <= most) & (wide <= 2.2 * high) & (area >= 0.15 * wide * high)
    return np.asarray(np.stack([y, x, high, wide], axis=1)[likely & (area >= 5)], np.int64)


def _text_rows(glyphs: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Group glyphs of similar height that stand next to each other on one line."""
    rows: list[list[NDArray[np.int64]]] = []
    for glyph in glyphs[np.argsort(glyphs[:, 1], kind="stable")]:
        for row in rows:
            if _is_next_glyph(row[-1], glyph):
                row.append(glyph)
                break
        else:
            rows.append([glyph])
    return [np.stack(row) for row in rows if len(row) >= _MIN_IN_ROW]


def _is_next_glyph(last: NDArray[np.int64], glyph: NDArray[np.int64]) -> bool:
    tall, short = max(last[2], glyph[2]), min(last[2], glyph[2])
    gap = glyph[1] - (last[1] + last[3])
    drop = abs((glyph[0] + glyph[2]) - (last[0] + last[2]))
    return bool(-1 <= gap <= 1.5 * tall and drop <= max(1, 0.2 * tall) and tall <= 1.4 * short + 1)


def _corner_box(dark: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Height and width of a dark rectangle at the top left with the scene at its inner edges.

    The dark triangle that a round field of view leaves has no such edges.
    """
    height, width = dark.shape
    runs = np.where(dark.all(axis=0), height, dark.argmin(axis=0))  # dark from the top, by column
    reach = np.minimum.accumulate(runs)
    wide = int(np.argmax(reach * np.arange(1, width + 1))) + 1
    high = int(reach[wide - 1])
    low, most = _PANEL
    if not (low * width < wide < most * width and low * height < high < most * height):
        return None
    bottom_edge = ~dark[min(high + 2, height - 1), :wide]  # 2: scaling blurs the edge
    right_edge = ~dark[:high, min(wide + 2, width - 1)]
    return (high, wide) if min(bottom_edge.mean(), right_edge.mean()) > _EDGE_SHARE else None


def _solid_box(plane: NDArray[np.bool_]) -> Box | None:
    """Bounding box of the largest connected region, if the region fills it."""
    closed = cv2.morphologyEx(plane.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    if len(stats) < 2:
        return None
    x, y, wide, high, area = (int(v) for v in stats[1:][np.argmax(stats[1:, 4])])
    large = wide > _PANEL[0] * plane.shape[1] and high > _PANEL[0] * plane.shape[0]
    return (y, x, high, wide) if large and area > _MIN_FILL * wide * high else None
