"""Small pictures of the pairs that a person should look at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.data.copies import Copy
from harness.data.decode import load
from harness.data.look import Look, Overview
from harness.data.overlay import as_rgb
from harness.data.palette import CLASS_COLOURS, Colour
from harness.data.pictures import read_pair
from harness.data.resize import resize_image
from harness.data.sources import Dataset, Pair
from harness.data.suspects import Box
from harness.data_config import VOID, StudyDataConfig
from harness.errors import DataError
from harness.inspection.findings import has_border, is_empty, kinds_of_bad

Array8 = NDArray[np.uint8]

MOST: Final = 12  # panels of a gallery; the rest is counted
_SIDE: Final = 320  # px of a panel's longer side
_MOST_ALIKE: Final = 2  # pairs with one kind of problem
_LONGEST: Final = 160  # characters of a problem in a caption; the findings have all of it
_MARK: Final = (255, 0, 255)


@dataclass(frozen=True, eq=False)
class Panel:
    """A picture uint8 (H, W, 3), RGB, and its caption."""

    picture: Array8
    caption: str


@dataclass(frozen=True, eq=False)
class Gallery:
    """Panels of one kind, of `n` that there are; shown in groups of `together`."""

    title: str
    note: str
    panels: tuple[Panel, ...]
    n: int
    together: int = 1


def galleries(overview: Overview, copies: Sequence[Copy]) -> list[Gallery]:
    """A gallery for each kind of suspect that there is."""
    data, looks = overview.dataset.data, overview.looks
    order = sorted(range(len(looks)), key=lambda index: _foreground(looks[index], data))
    some = [index for index in order if not is_empty(looks[index], data.task)]
    of = {
        "Least foreground": ("The smallest objects.", some[: MOST // 2]),
        "Most foreground": ("Whole pictures may be masks turned inside out.", some[:-7:-1]),
        "Empty masks": (
            "Nothing to find in them.",
            _those(looks, lambda x: is_empty(x, data.task)),
        ),
        "Vanishing objects": (
            "They hold objects that no pixel shows at eval_size.",
            _those(looks, lambda look: look.seen.n_vanishing > 0),
        ),
        "Black borders": ("What would be cropped is outside the line.", _those(looks, has_border)),
        "Burnt-in text": ("A guess; many are missed.", _those(looks, lambda x: bool(x.seen.text))),
        "Panels": ("A guess; many are missed.", _those(looks, lambda x: bool(x.seen.panels))),
    }
    shown = [_gallery(overview, title, note, which) for title, (note, which) in of.items() if which]
    return [*_bad(overview), *_copy_gallery(overview, copies), *shown]


def draw_pair(image: NDArray[Any], mask: Array8, data: StudyDataConfig) -> Array8:
    """An image (H, W, C) as small as a panel, with the contours of its mask.

    Args:
        image: stored values, or float32 in [0, 1].

    Returns:
        uint8 (h, w, 3), RGB, at most 320 px on a side.
    """
    span = (0.0, 1.0) if image.dtype == np.float32 else data.range
    canvas = _shrunk(as_rgb(image, span))
    for plane, colour in _planes(mask, data):
        small = cv2.resize(plane, canvas.shape[1::-1], interpolation=cv2.INTER_AREA)
        region = (small >= 128).astype(np.uint8)
        contours, _ = cv2.findContours(region, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, (0, 0, 0), 4)  # dark below: seen on any ground
        cv2.drawContours(canvas, contours, -1, colour, 2)
    return canvas


def _planes(mask: Array8, data: StudyDataConfig) -> list[tuple[Array8, Colour]]:
    """For each scored class its region as 0 or 255, and its colour."""
    indices = [i for i in data.scored_classes if mask.ndim == 3 or i or data.task != "multiclass"]
    planes = []
    for index in indices:
        region = mask[:, :, index] > 0 if mask.ndim == 3 else (mask == index) & (mask != VOID)
        planes.append((255 * region.astype(np.uint8), CLASS_COLOURS[index % len(CLASS_COLOURS)]))
    return planes


def _shrunk(picture: Array8) -> Array8:
    scale = min(1.0, _SIDE / max(picture.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return np.array(resize_image(picture, (height, width)))


def _those(looks: Sequence[Look], wanted: Callable[[Look], bool]) -> list[int]:
    return [index for index, look in enumerate(looks) if wanted(look)]


def _foreground(look: Look, data: StudyDataConfig) -> float:
    return sum(look.shares) if data.task == "multilabel" else sum(look.shares[1:])


def _gallery(overview: Overview, title: str, note: str, which: list[int]) -> Gallery:
    step = max(1, len(which) // MOST)  # from all over the dataset
    panels = [_panel(overview, index, title) for index in which[::step][:MOST]]
    return Gallery(title, note, tuple(panels), len(which))


def _panel(overview: Overview, index: int, title: str) -> Panel:
    pair, look = overview.dataset.pairs[index], overview.looks[index]
    height, width = look.size
    share = _foreground(look, overview.dataset.data)
    caption = f"{pair.image.as_posix()} · {width} × {height} · {share:.1%} foreground"
    picture = _drawn(overview.dataset, pair)
    top, right, bottom, left = look.seen.border
    boxes: dict[str, tuple[Box, ...]] = {
        "Black borders": ((top, left, height - top - bottom, width - left - right),),
        "Burnt-in text": look.seen.text,
        "Panels": look.seen.panels,
    }
    for box in boxes.get(title, ()):
        _mark(picture, box, picture.shape[1] / width)
    return Panel(picture, caption)


def _mark(picture: Array8, box: Box, scale: float) -> None:
    top, left, high, wide = (round(side * scale) for side in box)
    cv2.rectangle(picture, (left - 1, top - 1), (left + wide, top + high), _MARK, 1)


def _drawn(dataset: Dataset, pair: Pair) -> Array8:
    """A pair that was looked at; grey where it went away since."""
    try:
        loaded = read_pair(
            dataset.root / pair.image,
            [dataset.root / mask for mask in pair.masks],
            dataset.data,
            dataset.max_pixels,
        )
    except DataError:
        return _nothing()
    return draw_pair(loaded.image, loaded.mask, dataset.data)


def _bad(overview: Overview) -> list[Gallery]:
    """Examples of each kind of problem, so that one kind does not hide the others."""
    root = f"{overview.dataset.root}/"
    shown = [bad for alike in kinds_of_bad(overview) for bad in alike[:_MOST_ALIKE]][: MOST // 2]
    panels = []
    for bad in shown:
        name = bad.pair.image.as_posix()
        problem = shorten(bad.problem.replace(root, ""), _LONGEST, placeholder=" …")
        panels.append(Panel(_raw(overview.dataset, bad.pair, mask=False), f"{name}: {problem}"))
        mask = " | ".join(path.as_posix() for path in bad.pair.masks)
        panels.append(Panel(_raw(overview.dataset, bad.pair, mask=True), mask))
    note = "Image and mask as far as they can be decoded; masks are stretched to full contrast."
    n = len(overview.bad)
    return [Gallery("Cannot be used", note, tuple(panels), n, 2)] if panels else []


def _raw(dataset: Dataset, pair: Pair, *, mask: bool) -> Array8:
    """A file as stored, whatever it means; grey where it cannot be decoded."""
    path = dataset.root / (pair.masks[0] if mask else pair.image)
    try:
        data = np.frombuffer(load(path, dataset.max_pixels).data, np.uint8)
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except (DataError, cv2.error):
        return _nothing()
    if decoded is None:
        return _nothing()
    if mask:
        cv2.normalize(decoded, decoded, 0, 255, cv2.NORM_MINMAX)
    return _shrunk(np.ascontiguousarray(decoded[:, :, ::-1], np.uint8))


def _nothing() -> Array8:
    return np.full((120, 160, 3), 128, np.uint8)


def _copy_gallery(overview: Overview, copies: Sequence[Copy]) -> list[Gallery]:
    panels = [
        _panel(overview, index, "copies") for two in copies[:MOST] for index in (two.one, two.other)
    ]
    note = "Side by side; their masks show how well two annotations agree."
    return [Gallery("Copies", note, tuple(panels), len(copies), 2)] if panels else []
