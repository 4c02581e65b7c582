"""Statistics of a pair that is too large for memory, from its bands of rows."""

import hashlib
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.data.files.headers import describe_image
from harness.data.files.image_io import RANGE_8_BIT
from harness.data.files.large_image import LargeImage, band_slices
from harness.data.files.mask_values import (
    JPEG_BLOCK,
    MASK_THRESHOLD,
    MaskValues,
    colour_codes,
    enough_objects,
    has_grey_areas,
    may_be_noisy,
    summarize_values,
    tested_objects,
)
from harness.data.files.overlay import as_rgb
from harness.data.files.resize import Size
from harness.data.scan.components import ComponentCounter
from harness.data.scan.image_artifacts import Box, black_border, burnt_in_panels, burnt_in_text
from harness.data.scan.near_duplicates import Thumbnail, thumbnail
from harness.data.scan.objects import count_vanishing, scored_planes
from harness.data.scan.scan_cache import ImageFacts, PairStats
from harness.data.windows.large_pair import LargePair, PairBand
from harness.data.windows.overview import AreaReduction, NearestReduction, overview_size

Array8 = NDArray[np.uint8]


def scan_large_pair(pair: LargePair, values: MaskValues) -> PairStats:
    """Compute the statistics of a pair in one pass; borders, text and panels from an overview.

    Args:
        values: values in the files of the mask.

    Raises:
        DataError: as `LargePair.bands`.
    """
    size, data = (pair.header.height, pair.header.width), pair.data
    sums = _PairSums(size, data)
    overview = AreaReduction((*size, 3), overview_size(*size))
    for band in pair.bands():
        sums.add(band)
        overview.add(band.rows.start, as_rgb(band.image, data.range))
    rgb = overview.image(np.uint8)
    n_objects, n_vanishing = sums.count_objects()
    rescale = partial(_rescale_box, scale=size[0] / rgb.shape[0])
    top, right, bottom, left = rescale(black_border(rgb))
    return PairStats(
        *pair.hashes,
        pixels=sums.image_hash.hexdigest(),
        thumbnail=thumbnail(rgb).astype(np.float16),
        size=size,
        shares=sums.shares(),
        seen=ImageFacts(
            stored=describe_image(pair.header),
            mask=values,
            n_objects=n_objects,
            n_vanishing=n_vanishing,
            border=(top, right, bottom, left),
            text=tuple(rescale(box) for box in burnt_in_text(rgb)),
            panels=tuple(rescale(box) for box in burnt_in_panels(rgb)),
            greatest=sums.greatest,
            mask_pixels=sums.mask_hash.hexdigest(),
        ),
    )


def _rescale_box(box: Box, scale: float) -> Box:
    y, x, high, wide = (round(side * scale) for side in box)
    return y, x, high, wide


@dataclass(eq=False)
class _PairSums:
    """Sums over the bands of one pair; hashes as `_pixel_hash` in `pair_scan`."""

    size: Size
    data: StudyDataConfig

    def __post_init__(self) -> None:
        planes = () if self.data.n_mask_planes is None else (self.data.n_mask_planes,)
        shapes = (*self.size, self.data.channels), (*self.size, *planes)
        self.image_hash, self.mask_hash = (hashlib.sha256(str(shape).encode()) for shape in shapes)
        self.greatest = 0
        self._counts = np.zeros(IGNORE_INDEX + 1, np.int64)
        classes = self.data.scored_classes
        self._components = [ComponentCounter() for _ in classes]
        reduction = NearestReduction if self.data.uses_nearest_resize else AreaReduction
        side = self.data.eval_size
        self._truths = [reduction(self.size, (side, side)) for _ in classes]

    def add(self, band: PairBand) -> None:
        """Add the next band."""
        self.image_hash.update(band.image.tobytes())
        self.mask_hash.update(band.mask.tobytes())
        self.greatest = max(self.greatest, int(band.image.max()))
        if band.mask.ndim == 3:
            self._counts[: band.mask.shape[2]] += band.mask.sum(axis=(0, 1), dtype=np.int64)
        else:
            self._counts += np.bincount(band.mask.ravel(), minlength=len(self._counts))
        for index, plane in enumerate(scored_planes(band.mask, self.data)):
            self._components[index].add(band.rows.start, plane)
            self._truths[index].add(band.rows.start, plane)

    def shares(self) -> tuple[float, ...]:
        """Share of each class, as `class_shares`."""
        counts = self._counts[: len(self.data.classes)]
        total = self.size[0] * self.size[1] if self.data.task == "multilabel" else counts.sum()
        return tuple(float(n) / max(int(total), 1) for n in counts)

    def count_objects(self) -> tuple[tuple[int, ...], int]:
        """Numbers of objects and of vanishing objects, as `count_mask_objects`."""
        stats = [counter.stats() for counter in self._components]
        n_vanishing = sum(
            count_vanishing(self.size, objects, self.data, truth.mask)
            for objects, truth in zip(stats, self._truths, strict=True)
        )
        return tuple(len(objects) for objects in stats), n_vanishing


def fingerprint_large_image(image: LargeImage, data: StudyDataConfig) -> tuple[str, Thumbnail]:
    """SHA-256 of the decoded image and its thumbnail, as in `ImageFingerprint`.

    Raises:
        DataError: as `LargeImage.read_image`.
    """
    size = image.header.height, image.header.width
    pixel_hash = hashlib.sha256(str((*size, data.channels)).encode())
    overview = AreaReduction((*size, 3), overview_size(*size))
    span = RANGE_8_BIT if image.header.bits == 8 else data.range
    for rows in band_slices(size[0]):
        band = image.read_image(rows, data.channels, data.range)
        pixel_hash.update(band.tobytes())
        overview.add(rows.start, as_rgb(band, span))
    image.check_unchanged()
    return pixel_hash.hexdigest(), thumbnail(overview.image(np.uint8))


def describe_large_mask(mask: LargeImage) -> MaskValues:
    """Describe the values of a mask file, as `describe_values`."""
    is_grey, values = mask.mask_facts
    has_palette = mask.header.palette
    noisy = (
        is_grey
        and may_be_noisy({int(value) for value in values}, lossless=True, has_palette=has_palette)
        and not _has_grey_areas(mask)
    )
    numbered = _has_instance_ids(mask)
    return summarize_values(
        values, colours=not is_grey, lossless=True, noisy=noisy, numbered=numbered
    )


def _has_grey_areas(mask: LargeImage) -> bool:
    for rows in band_slices(mask.header.height):
        first = max(0, rows.start - JPEG_BLOCK)
        last = min(mask.header.height, rows.stop + JPEG_BLOCK)
        grey = mask.read_mask(slice(first, last)).samples
        labels = (grey > MASK_THRESHOLD).astype(np.uint8)
        counted = slice(rows.start - first, rows.stop - first)
        if has_grey_areas(grey, labels, lossless=True, rows=counted):
            return True
    return False


def _has_instance_ids(mask: LargeImage) -> bool:
    """True if nearly each value is one object, as `has_instance_ids`."""
    is_grey, values = mask.mask_facts
    tested = tested_objects(values, has_void=is_grey and mask.header.bits == 8)
    if not len(tested):
        return False
    counters = [ComponentCounter() for _ in tested]
    solid = np.zeros(len(tested), bool)
    for rows in band_slices(mask.header.height):
        samples = mask.read_mask(rows).samples
        codes = samples if samples.ndim == 2 else colour_codes(samples)
        for index, value in enumerate(tested):
            plane = (codes == value).astype(np.uint8)
            counters[index].add(rows.start, plane)
            solid[index] |= bool(cv2.erode(plane, np.ones((3, 3), np.uint8)).any())
    n_objects = sum(
        len(counter.stats()) == 1 and inside
        for counter, inside in zip(counters, solid, strict=True)
    )
    return enough_objects(n_objects, len(tested))
