"""Draw galleries of small pictures for a person to check: suspicious pairs, and ordinary ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import shorten
from types import MappingProxyType
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.errors import DataError
from harness.data.datasets.sources import Dataset, ImageMaskPair
from harness.data.files.decode import load_image_file
from harness.data.files.large_image import open_large_image
from harness.data.files.overlay import CLASS_COLOURS, Colour, as_rgb, draw_outlines
from harness.data.files.resize import resize_image
from harness.data.scan.image_artifacts import Box
from harness.data.scan.near_duplicates import DuplicatePair
from harness.data.scan.scan import DatasetScan, PairStats
from harness.data.windows.overview import read_pair_or_overview
from harness.inspection.findings import group_bad_pairs
from harness.inspection.pair_checks import has_border, is_empty
from harness.inspection.sealed_images import SealedImages, is_sealed_file

Array8 = NDArray[np.uint8]

MAX_PANELS: Final = 12  # panels of a gallery; further pairs are only counted
N_ORDINARY: Final = 8
_SIDE: Final = 320  # px of a panel's longer side
_MAX_PER_PROBLEM: Final = 2  # pairs with one kind of problem
_MAX_CAPTION: Final = 160  # characters of a problem in a caption; the findings have all of it
_MARK: Final = (255, 0, 255)


@dataclass(frozen=True, eq=False)
class InspectionPanel:
    """Picture uint8 (H, W, 3), RGB, with a caption."""

    picture: Array8
    caption: str


@dataclass(frozen=True, eq=False)
class InspectionGallery:
    """Panels of one kind, chosen from `n` pairs; shown in groups of `together`."""

    title: str
    note: str
    panels: tuple[InspectionPanel, ...]
    n: int
    together: int = 1


def build_galleries(
    scan: DatasetScan, copies: Sequence[DuplicatePair], sealed: SealedImages = MappingProxyType({})
) -> list[InspectionGallery]:
    """Build a gallery of ordinary pairs, and one for each kind of suspicious pair that occurs.

    Args:
        sealed: test images of studies, which no gallery shows.
    """
    data, pair_stats = scan.dataset.data, scan.pair_stats
    visible = [k for k, stats in enumerate(pair_stats) if stats.image_sha256 not in sealed]
    # Both ends of the distribution: specks left by an annotation tool, and inverted masks.
    order = sorted(visible, key=lambda index: _foreground(pair_stats[index], data))
    with_objects = [index for index in order if not is_empty(pair_stats[index], data.task)]
    suspects = {
        "Least foreground": ("The smallest objects.", with_objects[: MAX_PANELS // 2]),
        "Most foreground": (
            "A mask that covers the whole image may be inverted.",
            with_objects[::-1][: MAX_PANELS // 2],
        ),
        "Empty masks": (
            "They have no foreground.",
            _matching_indices(pair_stats, lambda x: is_empty(x, data.task)),
        ),
        "Vanishing objects": (
            "They contain objects that cover no pixel at eval_size.",
            _matching_indices(pair_stats, lambda stats: stats.seen.n_vanishing > 0),
        ),
        "Black borders": (
            "The area outside the line would be cropped.",
            _matching_indices(pair_stats, has_border),
        ),
        "Burnt-in text": (
            "A guess; many are missed.",
            _matching_indices(pair_stats, lambda x: bool(x.seen.text)),
        ),
        "Panels": (
            "A guess; many are missed.",
            _matching_indices(pair_stats, lambda x: bool(x.seen.panels)),
        ),
    }
    visible_indices = set(visible)
    suspects = {
        title: (note, [index for index in indices if index in visible_indices])
        for title, (note, indices) in suspects.items()
    }
    suspect_galleries = [
        _build_gallery(scan, title, note, indices)
        for title, (note, indices) in suspects.items()
        if indices
    ]
    odd = {index for _, indices in suspects.values() for index in indices}
    ordinary = [index for index in visible if index not in odd]
    ordinary = ordinary[:: max(1, len(ordinary) // N_ORDINARY)][:N_ORDINARY]
    note = "Spread over the data set, for comparison with the odd ones below."
    copies = [copy for copy in copies if {copy.first, copy.second} <= visible_indices]
    return [
        *([_build_gallery(scan, "Ordinary pairs", note, ordinary)] if ordinary else []),
        *_bad_pair_gallery(scan, sealed),
        *_duplicate_gallery(scan, copies),
        *suspect_galleries,
    ]


def outline_legend(data: StudyDataConfig) -> list[tuple[str, Colour]]:
    """Meaning and RGB colour of each line that is drawn over the images."""
    classes = [(data.classes[index], _class_colour(index)) for index in _drawn_classes(data)]
    return [*classes, ("black border, text or panels", _MARK)]


def draw_pair(image: NDArray[Any], mask: Array8, data: StudyDataConfig) -> Array8:
    """Draw an image (H, W, C) at the size of a panel, with the contours of its mask.

    Args:
        image: stored values, or float32 in [0, 1].

    Returns:
        uint8 (h, w, 3), RGB, at most 320 px on a side.
    """
    span = (0.0, 1.0) if image.dtype == np.float32 else data.range
    # Contours are drawn after shrinking: lines of 2 px would vanish in a picture of 4000 px.
    canvas = _shrink(as_rgb(image, span))
    outlines = []
    for plane, colour in _planes(mask, data):
        # INTER_AREA and a threshold of one half: nearest neighbour would drop thin parts of a mask.
        small = cv2.resize(plane, canvas.shape[1::-1], interpolation=cv2.INTER_AREA)
        outlines.append(((small >= 128).astype(np.uint8), colour))
    return draw_outlines(canvas, outlines)


def _planes(mask: Array8, data: StudyDataConfig) -> list[tuple[Array8, Colour]]:
    """Region of each scored class as 0 or 255, with its colour."""
    planes = []
    for index in _drawn_classes(data):
        region = (
            mask[:, :, index] > 0 if mask.ndim == 3 else (mask == index) & (mask != IGNORE_INDEX)
        )
        planes.append((255 * region.astype(np.uint8), _class_colour(index)))
    return planes


def _drawn_classes(data: StudyDataConfig) -> list[int]:
    """Indices of the classes with an outline; class 0 of several is the area between them."""
    return [index for index in data.scored_classes if index or data.task != "multiclass"]


def _class_colour(index: int) -> Colour:
    return CLASS_COLOURS[index % len(CLASS_COLOURS)]


def _shrink(picture: Array8) -> Array8:
    scale = min(1.0, _SIDE / max(picture.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return np.array(resize_image(picture, (height, width)))


def _matching_indices(
    pair_stats: Sequence[PairStats], predicate: Callable[[PairStats], bool]
) -> list[int]:
    return [index for index, stats in enumerate(pair_stats) if predicate(stats)]


def _foreground(stats: PairStats, data: StudyDataConfig) -> float:
    return sum(stats.shares) if data.task == "multilabel" else sum(stats.shares[1:])


def _build_gallery(
    scan: DatasetScan, title: str, note: str, indices: list[int]
) -> InspectionGallery:
    # Spread over the dataset: neighbours in the list are often frames of one video.
    step = max(1, len(indices) // MAX_PANELS)
    panels = [_build_panel(scan, index, title) for index in indices[::step][:MAX_PANELS]]
    return InspectionGallery(title, note, tuple(panels), len(indices))


def _build_panel(scan: DatasetScan, index: int, title: str) -> InspectionPanel:
    pair, stats = scan.dataset.pairs[index], scan.pair_stats[index]
    height, width = stats.size
    share = _foreground(stats, scan.dataset.data)
    caption = f"{pair.image.as_posix()} · {width} × {height} · {share:.1%} foreground"
    picture = _draw_panel(scan.dataset, pair)
    top, right, bottom, left = stats.seen.border
    boxes: dict[str, tuple[Box, ...]] = {
        "Black borders": ((top, left, height - top - bottom, width - left - right),),
        "Burnt-in text": stats.seen.text,
        "Panels": stats.seen.panels,
    }
    for box in boxes.get(title, ()):
        _draw_box(picture, box, picture.shape[1] / width)
    return InspectionPanel(picture, caption)


def _draw_box(picture: Array8, box: Box, scale: float) -> None:
    # Two pixels outside, so that the line does not hide what it marks; a thinner one would lose its
    # colour in the JPEG of the page.
    y, x, high, wide = (round(side * scale) for side in box)
    for outside in (1, 2):
        first, last = (x - outside, y - outside), (x + wide - 1 + outside, y + high - 1 + outside)
        cv2.rectangle(picture, first, last, _MARK, 1)


def _draw_panel(dataset: Dataset, pair: ImageMaskPair) -> Array8:
    """Draw a pair; a grey placeholder if it is missing since the scan."""
    try:
        loaded = read_pair_or_overview(
            dataset.source, pair.image, pair.masks, dataset.data, dataset.max_pixels
        )
    except DataError:
        return _grey_placeholder()
    return draw_pair(loaded.image, loaded.mask, dataset.data)


def _bad_pair_gallery(scan: DatasetScan, sealed: SealedImages) -> list[InspectionGallery]:
    """Gallery with examples of each kind of problem, so that none hides the others."""
    root = f"{scan.dataset.root}/"
    examples = [bad for group in group_bad_pairs(scan) for bad in group[:_MAX_PER_PROBLEM]][
        : MAX_PANELS // 2
    ]
    source = scan.dataset.source
    examples = [bad for bad in examples if not is_sealed_file(source, bad.pair.image, sealed)]
    panels = []
    for bad in examples:
        name = bad.pair.image.as_posix()
        problem = shorten(bad.problem.replace(root, ""), _MAX_CAPTION, placeholder=" …")
        panels.append(
            InspectionPanel(
                _draw_raw_file(scan.dataset, bad.pair, mask=False), f"{name}: {problem}"
            )
        )
        mask = " | ".join(path.as_posix() for path in bad.pair.masks)
        panels.append(InspectionPanel(_draw_raw_file(scan.dataset, bad.pair, mask=True), mask))
    note = "Image and mask as far as they can be decoded; masks are stretched to full contrast."
    n = len(scan.bad_pairs)
    return [InspectionGallery("Cannot be used", note, tuple(panels), n, 2)] if panels else []


def _draw_raw_file(dataset: Dataset, pair: ImageMaskPair, *, mask: bool) -> Array8:
    """Draw a file as stored, without its meaning; a grey placeholder if it cannot be decoded.

    A large image is not drawn: it would be decoded entirely.
    """
    name = pair.masks[0] if mask else pair.image
    try:
        with open_large_image(dataset.source, name, dataset.max_pixels) as large:
            if large is not None:
                return _grey_placeholder()
        file = load_image_file(dataset.source, name, dataset.max_pixels)
        data = np.frombuffer(file.data, np.uint8)
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except (DataError, cv2.error):
        return _grey_placeholder()
    if decoded is None:
        return _grey_placeholder()
    if mask:
        # Class indices such as 0, 1 and 2 would all look black.
        cv2.normalize(decoded, decoded, 0, 255, cv2.NORM_MINMAX)
    # OpenCV decodes to BGR. `ascontiguousarray`, since its functions refuse negative strides.
    return _shrink(np.ascontiguousarray(decoded[:, :, ::-1], np.uint8))


def _grey_placeholder() -> Array8:
    return np.full((120, 160, 3), 128, np.uint8)


def _duplicate_gallery(
    scan: DatasetScan, copies: Sequence[DuplicatePair]
) -> list[InspectionGallery]:
    panels = [
        _build_panel(scan, index, "copies")
        for duplicate in copies[:MAX_PANELS]
        for index in (duplicate.first, duplicate.second)
    ]
    note = "Copies side by side; their masks show how well two annotations agree."
    return [InspectionGallery("Copies", note, tuple(panels), len(copies), 2)] if panels else []
