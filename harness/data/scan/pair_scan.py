"""Statistics of one image-mask pair, and of one image for a comparison with others."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.errors import DataError
from harness.data.datasets.sources import Dataset, ImageMaskPair
from harness.data.files.decode import ImageFile, load_image_file, mask_samples
from harness.data.files.headers import ImageFileInfo, describe_image
from harness.data.files.image_io import (
    RANGE_8_BIT,
    LoadedPair,
    PairHashes,
    decode_image,
    decode_pair,
    load_pair,
)
from harness.data.files.large_image import LargeImage, open_large_image
from harness.data.files.mask_values import MaskValues, describe_values, merge_values
from harness.data.files.overlay import as_rgb
from harness.data.files.source import DataSource, RelativePath
from harness.data.scan.image_artifacts import black_border, burnt_in_panels, burnt_in_text
from harness.data.scan.large_scan import (
    describe_large_mask,
    fingerprint_large_image,
    scan_large_pair,
)
from harness.data.scan.near_duplicates import Thumbnail, thumbnail
from harness.data.scan.objects import count_mask_objects
from harness.data.scan.scan_cache import (
    ImageFacts,
    PairStats,
)
from harness.data.windows.large_pair import LargePair, open_large_pair

_EMPTY_CACHE: Final[Mapping[PairHashes, PairStats]] = MappingProxyType({})


@dataclass(frozen=True)
class BadPair:
    """Pair that cannot be used, and the reason in one line.

    `values` and `stored` describe its files as far as they can be read; otherwise None.
    """

    pair: ImageMaskPair
    problem: str
    values: MaskValues | None
    stored: ImageFileInfo | None


def scan_pair(
    dataset: Dataset, pair: ImageMaskPair, cached: Mapping[PairHashes, PairStats] = _EMPTY_CACHE
) -> PairStats | BadPair:
    """Compute the statistics of one pair. Each file is read once; cached files are not decoded.

    Args:
        cached: statistics of an earlier scan, by the hashes of image and mask.
    """
    try:
        with open_large_pair(
            dataset.source, pair.image, pair.masks, dataset.data, dataset.max_pixels
        ) as large:
            if large is not None:
                return _scan_large(large, pair, cached)
        files = load_pair(dataset.source, pair.image, pair.masks, dataset.max_pixels)
    except DataError as error:
        values, stored = _read_mask_values(dataset, pair), _read_file_info(dataset, pair)
        return BadPair(pair, str(error), values, stored)
    if files.hashes in cached:
        return cached[files.hashes]
    values, stored = None, describe_image(files.image.header)
    try:
        raw = [mask_samples(mask) for mask in files.masks]
        values = merge_values([describe_values(raw_mask) for raw_mask in raw])
        decoded = decode_pair(files, raw, dataset.data)
        return _compute_pair_stats(decoded, dataset.data, stored, values)
    except DataError as error:
        return BadPair(pair, str(error), values, stored)


def _scan_large(
    large: LargePair, pair: ImageMaskPair, cached: Mapping[PairHashes, PairStats]
) -> PairStats | BadPair:
    if large.hashes in cached:
        return cached[large.hashes]
    values = None
    try:
        values = merge_values([_describe_mask(mask) for mask in large.masks])
        return scan_large_pair(large, values)
    except DataError as error:
        return BadPair(pair, str(error), values, describe_image(large.header))


def _describe_mask(mask: LargeImage | ImageFile) -> MaskValues:
    if isinstance(mask, LargeImage):
        return describe_large_mask(mask)
    return describe_values(mask_samples(mask))


def _compute_pair_stats(
    loaded: LoadedPair, data: StudyDataConfig, stored: ImageFileInfo, values: MaskValues
) -> PairStats:
    image = loaded.image
    rgb = as_rgb(image, data.range)
    return PairStats(
        image_sha256=loaded.image_sha256,
        mask_sha256=loaded.mask_sha256,
        pixels=_pixel_hash(image),
        # Half precision halves what is kept of an image; it keeps the values of dark images, too.
        thumbnail=thumbnail(rgb).astype(np.float16),
        size=(image.shape[0], image.shape[1]),
        shares=class_shares(loaded.mask, data),
        seen=_compute_image_facts(loaded, data, rgb, stored, values),
    )


@dataclass(frozen=True, eq=False)
class ImageFingerprint:
    """Hashes and thumbnail for a comparison of two images; fields as in `PairStats`."""

    image_sha256: str
    pixels: str
    thumbnail: Thumbnail


def fingerprint_image(
    source: DataSource, name: RelativePath, data: StudyDataConfig, max_pixels: float
) -> ImageFingerprint:
    """Decode one image without its mask for a comparison with others.

    Raises:
        DataError: as `harness.data.files.image_io.read_image`.
    """
    with open_large_image(source, name, max_pixels) as large:
        if large is not None:
            pixels, small = fingerprint_large_image(large, data)
            return ImageFingerprint(large.sha256(), pixels, small)
    file = load_image_file(source, name, max_pixels)
    image = decode_image(file, data.channels, data.range)
    # A copy of 8 bits of an image of 16 has the same image, in values of another range.
    span = RANGE_8_BIT if file.header.bits == 8 else data.range
    return ImageFingerprint(
        hashlib.sha256(file.data).hexdigest(), _pixel_hash(image), thumbnail(as_rgb(image, span))
    )


def _pixel_hash(image: NDArray[np.integer]) -> str:
    # The shape counts: 2 x 8 and 4 x 4 pixels of one colour have the same bytes.
    return hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()


def class_shares(mask: NDArray[np.uint8], data: StudyDataConfig) -> tuple[float, ...]:
    """Share of each class among the pixels of a decoded mask that are not ignored."""
    if mask.ndim == 3:
        return tuple(float(share) for share in mask.mean(axis=(0, 1)))
    # If all pixels are ignored the counts are all 0: max(..., 1) gives shares of 0, not NaN.
    counts = np.bincount(mask[mask != IGNORE_INDEX], minlength=len(data.classes))
    return tuple(float(count) / max(int(counts.sum()), 1) for count in counts)


def _compute_image_facts(
    loaded: LoadedPair,
    data: StudyDataConfig,
    rgb: NDArray[np.uint8],
    stored: ImageFileInfo,
    values: MaskValues,
) -> ImageFacts:
    n_objects, n_vanishing = count_mask_objects(loaded.mask, data)
    return ImageFacts(
        stored=stored,
        mask=values,
        n_objects=n_objects,
        n_vanishing=n_vanishing,
        border=black_border(rgb),
        text=burnt_in_text(rgb),
        panels=burnt_in_panels(rgb),
        greatest=int(loaded.image.max()),
        mask_pixels=_pixel_hash(loaded.mask),
    )


def _read_mask_values(dataset: Dataset, pair: ImageMaskPair) -> MaskValues | None:
    """Values of a pair's masks although its image is unreadable; None if they are too."""
    try:
        return merge_values([_read_values(dataset, name) for name in pair.masks])
    except DataError:
        return None


def _read_values(dataset: Dataset, name: Path) -> MaskValues:
    with open_large_image(dataset.source, name, dataset.max_pixels) as large:
        file = large or load_image_file(dataset.source, name, dataset.max_pixels)
        return _describe_mask(file)


def _read_file_info(dataset: Dataset, pair: ImageMaskPair) -> ImageFileInfo | None:
    try:
        with open_large_image(dataset.source, pair.image, dataset.max_pixels) as large:
            file = large or load_image_file(dataset.source, pair.image, dataset.max_pixels)
            return describe_image(file.header)
    except DataError:
        return None
