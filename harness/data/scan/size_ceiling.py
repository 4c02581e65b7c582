"""Best metrics that a network can reach at a training size, from the masks alone.

A network that reproduces each training mask exactly still loses what the mask lost when it was
resized.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core import files
from harness.core.settings import StrictSettings
from harness.data.files.image_io import read_upright_mask
from harness.data.files.object_matches import TrueObjects, f1_of_counts
from harness.data.files.overlay import foreground_classes
from harness.data.files.resize import Array8, Fit, Size, content_box, resize_mask
from harness.data.files.source import DataSource, RelativePath
from harness.data.scan.scan import DatasetScan
from harness.data.windows.large_pair import open_large_pair
from harness.data.windows.window import Window

MAX_IMAGES: Final = 200
MAX_SAMPLED_PIXELS: Final = 50e6  # of all sampled masks: one or two seconds for each size
MAX_SIDE: Final = 4096  # px; of a larger picture a window of this side is measured
SEED: Final = 0
NOTABLE_LOSS: Final = 0.01  # of Dice, from which on the loss is said in a sentence

MaskFiles = tuple[RelativePath, Sequence[RelativePath]]  # image and masks of a pair
Bools = NDArray[np.bool_]
ReadShape = Callable[[int], Size]
ReadMask = Callable[[int, Window], Array8]
TrainingSize = tuple[Size, Fit]


class SizeCeiling(StrictSettings):
    """Best metrics at one training size.

    Attributes:
        dice: mean over images, of each the mean over the classes in its mask, at native size.
        object_f1: F1 of the objects of all images, matched at an IoU above 0.5; None without any.
    """

    height: int
    width: int
    fit: Fit
    dice: float = Field(ge=0, le=1)
    object_f1: float | None


class CeilingTable(StrictSettings):
    """Best metrics at each training size that a space can draw, from a sample of the masks.

    Attributes:
        n_images: number of measured masks; those without foreground are left out.
        n_available: number of masks that the sample was drawn from.
        n_windows: number of pictures of which a window was measured, as they are very large.
        longest_side: px, of the largest measured picture.
        has_tiles: the space also draws tiles, which show images at their own resolution.
    """

    n_images: int
    n_available: int
    n_windows: int
    longest_side: int
    seed: int
    ceilings: tuple[SizeCeiling, ...]
    has_tiles: bool = False

    @property
    def best(self) -> SizeCeiling | None:
        """The training size with the highest Dice; of equal ones the first."""
        return max(self.ceilings, key=lambda ceiling: ceiling.dice, default=None)


def write_ceilings(path: Path, table: CeilingTable) -> None:
    """Write a table atomically."""
    files.write_text(path, table.model_dump_json(indent=1) + "\n")


def read_ceilings(path: Path) -> CeilingTable | None:
    """Read a table; None if there is none, or if it is damaged: the next run measures it again."""
    try:
        return CeilingTable.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def measure_scan_ceilings(scan: DatasetScan, sizes: Sequence[TrainingSize]) -> CeilingTable:
    """Measure on the usable pairs of a scan, without those that the data declares as test."""
    dataset = scan.dataset
    pairs = [(pair.image, pair.masks) for pair in dataset.pairs if pair.role != "test"]
    return measure_file_ceilings(dataset.source, pairs, sizes, dataset.data, dataset.max_pixels)


def measure_file_ceilings(
    source: DataSource,
    pairs: Sequence[MaskFiles],
    sizes: Sequence[TrainingSize],
    data: StudyDataConfig,
    max_pixels: float,
) -> CeilingTable:
    """Measure the ceilings of files, of which one mask is decoded at a time.

    Raises:
        DataError: a mask of the sample cannot be read.
    """

    @lru_cache(maxsize=1)
    def decode(row: int) -> Array8:
        return read_upright_mask(source, *pairs[row], data, max_pixels)

    def read_shape(row: int) -> Size:
        with open_large_pair(source, *pairs[row], data, max_pixels) as large:
            if large is not None:
                return large.header.height, large.header.width
        return decode(row).shape[0], decode(row).shape[1]

    def read_mask(row: int, window: Window) -> Array8:
        with open_large_pair(source, *pairs[row], data, max_pixels) as large:
            if large is not None:
                rows, columns = window.slices
                return large.read_mask(rows)[:, columns]
        return decode(row)[window.slices]

    return measure_ceilings(range(len(pairs)), read_shape, read_mask, sizes, data)


def measure_ceilings(
    rows: Sequence[int],
    read_shape: ReadShape,
    read_mask: ReadMask,
    sizes: Sequence[TrainingSize],
    data: StudyDataConfig,
    seed: int = SEED,
) -> CeilingTable:
    """Resize a sample of masks as training does, enlarge them as evaluation does, and compare.

    Args:
        rows: numbers of the masks that may be read, in any order.
        read_shape: height and width of the mask of a row.
        read_mask: a window of the mask of a row, decoded.
        sizes: training sizes; equal ones are measured once.
        seed: seed of the sample and of the windows of large pictures.
    """
    sums = {size: _SizeSums() for size in sizes}
    n_images = n_windows = longest_side = 0
    rng = np.random.default_rng(seed)
    for row, shape in _sample_rows(rows, read_shape, rng):
        window = _draw_window(shape, rng)
        mask = read_mask(row, window)
        counted = None if mask.ndim == 3 else mask != IGNORE_INDEX
        planes = [_TruePlane(index, mask, counted, data) for index in data.scored_classes]
        if not any(plane.n_pixels for plane in planes):
            continue
        n_images += 1
        n_windows += (window.height, window.width) != shape
        longest_side = max(longest_side, *shape)
        for size, total in sums.items():
            total.add(planes, _restore(mask, shape, size, data))
    return CeilingTable(
        n_images=n_images,
        n_available=len(rows),
        n_windows=n_windows,
        longest_side=longest_side,
        seed=seed,
        ceilings=tuple(total.ceiling(size) for size, total in sums.items()) if n_images else (),
    )


class _TruePlane:
    """One scored class of a mask, with its objects; a background has none."""

    def __init__(
        self, index: int, mask: Array8, counted: Bools | None, data: StudyDataConfig
    ) -> None:
        self._index, self._counted = index, counted
        self._truth = self._plane_of(mask)
        self.n_pixels = int(self._truth.sum())
        is_object = index in foreground_classes(data)
        self._objects = TrueObjects(self._truth, counted) if is_object else None

    def compare(self, restored: Array8) -> tuple[float | None, NDArray[np.int64]]:
        """Dice, None if the mask lacks the class, and the counts of matched objects."""
        predicted = self._plane_of(restored)
        if self._counted is not None:
            predicted &= self._counted
        counts = np.zeros(3, np.int64)
        if self._objects is not None:
            counts = self._objects.match(predicted).counts
        if not self.n_pixels:
            return None, counts
        hits = np.count_nonzero(self._truth & predicted)
        return 2 * hits / (self.n_pixels + np.count_nonzero(predicted)), counts

    def _plane_of(self, mask: Array8) -> Bools:
        return np.asarray(mask[..., self._index] == 1 if mask.ndim == 3 else mask == self._index)


class _SizeSums:
    """Sums over images at one training size."""

    def __init__(self) -> None:
        self._dice: list[float] = []
        self._objects = np.zeros(3, np.int64)

    def add(self, planes: Sequence[_TruePlane], restored: Array8) -> None:
        compared = [plane.compare(restored) for plane in planes]
        self._objects += sum(counts for _, counts in compared)
        self._dice.append(float(np.mean([dice for dice, _ in compared if dice is not None])))

    def ceiling(self, size: TrainingSize) -> SizeCeiling:
        (height, width), fit = size
        return SizeCeiling(
            height=height,
            width=width,
            fit=fit,
            dice=float(np.mean(self._dice)),
            object_f1=f1_of_counts(self._objects),
        )


def _sample_rows(
    rows: Sequence[int], read_shape: ReadShape, rng: np.random.Generator
) -> Iterator[tuple[int, Size]]:
    """Yield rows in a seeded order until the sample is large enough, with their sizes."""
    remaining = MAX_SAMPLED_PIXELS
    for n, index in enumerate(rng.permutation(len(rows)).tolist()):
        shape = read_shape(rows[index])
        remaining -= min(shape[0], MAX_SIDE) * min(shape[1], MAX_SIDE)
        # The first mask is measured however large it is: a sample needs one.
        if n == MAX_IMAGES or (n and remaining < 0):
            return
        yield rows[index], shape


def _draw_window(shape: Size, rng: np.random.Generator) -> Window:
    """A random window of at most MAX_SIDE: objects of a huge picture need gigabytes to number."""
    height, width = (min(side, MAX_SIDE) for side in shape)
    top, left = (int(rng.integers(shape[k] - side + 1)) for k, side in enumerate((height, width)))
    return Window(top, left, height, width)


def _restore(mask: Array8, shape: Size, target: TrainingSize, data: StudyDataConfig) -> Array8:
    """Decisions of a network that gives the resized mask exactly, at the size of `mask`.

    Args:
        mask: a window of a picture of `shape`, which is resized by the factors of the picture.
    """
    size, fit = target
    _, _, height, width = content_box(shape, size, fit)
    part = mask.shape[0] / shape[0], mask.shape[1] / shape[1]
    fitted = (max(1, round(height * part[0])), max(1, round(width * part[1])))
    small = resize_mask(mask, fitted, nearest=data.uses_nearest_resize)
    if small.shape == mask.shape:
        return small
    if mask.ndim == 3:
        return np.stack([_enlarge(plane, mask) >= 0 for plane in np.moveaxis(small, 2, 0)], axis=2)
    if data.task == "binary":
        return (_enlarge(small, mask) >= 0).astype(np.uint8)
    best, decided = np.full(mask.shape, -np.inf, np.float32), np.zeros(mask.shape, np.uint8)
    for index in range(len(data.classes)):
        value = _enlarge(np.where(small == IGNORE_INDEX, IGNORE_INDEX, small == index), mask)
        # Strictly greater: of equal logits argmax takes the lowest index.
        decided[value > best] = index
        np.maximum(best, value, out=best)
    return decided


def _enlarge(small: NDArray[np.integer], mask: Array8) -> NDArray[np.float32]:
    """Logits 1, -1, or 0 where ignored, enlarged as `probabilities_from_logits` does.

    Bilinear without antialiasing, which in OpenCV as in PyTorch (align_corners=False) samples pixel
    centres and repeats the border.
    """
    logits = np.where(small == IGNORE_INDEX, 0, 2 * small.astype(np.float32) - 1)
    size = (mask.shape[1], mask.shape[0])
    enlarged = cv2.resize(logits.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged, np.float32)
