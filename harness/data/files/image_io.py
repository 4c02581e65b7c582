"""Read one image, one mask or a pair into arrays, with every check before decoding."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.core.files import combine_sha256
from harness.core.text import count
from harness.data.files.decode import (
    ImageFile,
    RawMask,
    Samples,
    apply_orientation,
    image_samples,
    load_image_file,
    mask_samples,
)
from harness.data.files.headers import ImageHeader
from harness.data.files.mask_classes import to_classes
from harness.data.files.source import DataSource, FolderSource, RelativePath

Array8 = NDArray[np.uint8]

PairHashes = tuple[str, str]  # SHA-256 of an image and of its mask or masks

RANGE_8_BIT = (0.0, 255.0)


@dataclass(frozen=True)
class PairFiles:
    """Files of an image and its masks, not yet decoded."""

    image: ImageFile
    masks: tuple[ImageFile, ...]

    @cached_property
    def hashes(self) -> PairHashes:
        """SHA-256 of the image and of its mask; several masks share one combined hash."""
        image_hash, *mask_hashes = [file_sha256(file) for file in (self.image, *self.masks)]
        return image_hash, combine_sha256(mask_hashes)


class LoadedPair(NamedTuple):
    """Decoded image (H, W, C), its mask, and the hashes of both files.

    Attributes:
        image: uint8, or uint16 where `data.range` ends above 255; as stored, RGB order.
        mask: uint8 (H, W) of class indices with IGNORE_INDEX, or (H, W, K) in {0, 1}.
        mask_sha256: for several masks, the result of `combine_sha256`.
    """

    image: Samples
    mask: Array8
    image_sha256: str
    mask_sha256: str


def read_image(
    path: Path,
    max_pixels: float,
    channels: int = 3,
    value_range: tuple[float, float] = RANGE_8_BIT,
) -> Samples:
    """Read a local image (H, W, channels): values as stored, upright, RGB; grey becomes three.

    Alpha is dropped unless `channels` counts it. The type is uint16 where `value_range` ends above
    255, else uint8.

    Raises:
        DataError: missing, undecodable, truncated, larger than `max_pixels`, with another number
            of channels, or with 16 bits where `value_range` ends at 255.
    """
    # The source is the whole file system: a local image may be a link to any folder.
    local = path.absolute()
    file = load_image_file(FolderSource(Path(local.anchor)), local, max_pixels)
    return decode_image(file, channels, value_range)


def read_mask(
    source: DataSource, names: Sequence[RelativePath], data: StudyDataConfig, max_pixels: float
) -> Array8:
    """Read a mask as in `LoadedPair`, without rotation (`read_pair` rotates it with its image).

    Without `data.values`, grey values above 127 are the foreground of a two-class mask, a lossless
    mask of 0 and 1 is used unchanged, and a mask of several classes holds class indices.

    Raises:
        DataError: as `read_image`; also for a value without a known meaning.
    """
    files = [load_image_file(source, name, max_pixels) for name in names]
    return _decode_mask(files, [mask_samples(file) for file in files], data)


def read_upright_mask(
    source: DataSource,
    image: RelativePath,
    masks: Sequence[RelativePath],
    data: StudyDataConfig,
    max_pixels: float,
) -> Array8:
    """Read the mask of a pair as `read_pair` does; the image is not decoded. Raises as it does."""
    pair = load_pair(source, image, masks, max_pixels)
    mask = _decode_mask(pair.masks, [mask_samples(file) for file in pair.masks], data)
    return cast(Array8, apply_orientation(mask, pair.image.header.orientation))


def read_pair(
    source: DataSource,
    image: RelativePath,
    masks: Sequence[RelativePath],
    data: StudyDataConfig,
    max_pixels: float,
    hashes: PairHashes | None = None,
) -> LoadedPair:
    """Read an image and its mask, or the masks of a multilabel task; all must have one size.

    An EXIF orientation of the image turns all: annotation tools draw on the pixels as stored.

    Args:
        hashes: SHA-256 of image and mask that were recorded before; None: accept any content.

    Raises:
        DataError: as `read_image` and `read_mask`; both sizes where they differ; other hashes.
    """
    pair = load_pair(source, image, masks, max_pixels)
    if hashes is not None:
        check_same_hashes(pair.image.path, pair.hashes, hashes)
    return decode_pair(pair, [mask_samples(mask) for mask in pair.masks], data)


def check_same_hashes(path: PurePath, hashes: PairHashes, recorded: PairHashes) -> None:
    """Raise DataError if an image or its mask differs from the recorded one."""
    if hashes != recorded:
        raise DataError(
            f"{path}: image or mask has changed since its hash was recorded; restore the file"
        )


def file_sha256(file: ImageFile) -> str:
    """SHA-256 of a loaded file."""
    return hashlib.sha256(file.data).hexdigest()


def load_pair(
    source: DataSource, image: RelativePath, masks: Sequence[RelativePath], max_pixels: float
) -> PairFiles:
    """Read the files of a pair without decoding. Raises DataError as `load_image_file`."""
    image_file = load_image_file(source, image, max_pixels)
    return PairFiles(image_file, tuple(load_image_file(source, name, max_pixels) for name in masks))


def decode_pair(pair: PairFiles, raw: Sequence[RawMask], data: StudyDataConfig) -> LoadedPair:
    """Decode a pair from its files and the samples of its masks. Raises as `read_pair`."""
    image = pair.image
    for mask in pair.masks:
        # Before decoding: sizes are known from headers, and both files may be large.
        check_match((image.path, image.header), (mask.path, mask.header))
    return LoadedPair(
        decode_image(image, data.channels, data.range),
        cast(
            Array8, apply_orientation(_decode_mask(pair.masks, raw, data), image.header.orientation)
        ),
        *pair.hashes,
    )


def decode_image(file: ImageFile, channels: int, value_range: tuple[float, float]) -> Samples:
    """Decode a loaded file as `read_image` does. Raises DataError as it does."""
    check_depth(file.path, file.header, value_range)
    samples = apply_orientation(image_samples(file, channels), file.header.orientation)
    # One type for the whole data set, also for its files of 8 bits: the cache is a single array.
    return samples.astype(np.uint16, copy=False) if value_range[1] > 255 else samples


def check_depth(path: PurePath, header: ImageHeader, value_range: tuple[float, float]) -> None:
    """Raise DataError if a file has 16 bits and the range of the study ends at 255."""
    if header.bits > 8 and value_range[1] <= 255:
        raise DataError(
            f"{path}: {header.bits} bits a sample, but data.range ends at "
            f"{value_range[1]:g}; set data.range, e.g. [0, 65535]"
        )


def _decode_mask(
    files: Sequence[ImageFile], raw: Sequence[RawMask], data: StudyDataConfig
) -> Array8:
    check_mask_count([file.path for file in files], data)
    parts = [to_classes(samples, data, file.path) for file, samples in zip(files, raw, strict=True)]
    for file, part in zip(files, parts, strict=True):
        if part.shape != parts[0].shape:
            raise DataError(f"{file.path}: of another size than {files[0].path.name}")
    return np.stack(parts, axis=2) if data.task == "multilabel" else parts[0]


def check_mask_count(paths: Sequence[PurePath], data: StudyDataConfig) -> None:
    """Raise DataError if an image has more or fewer mask files than the task needs."""
    expected = len(data.classes) if data.task == "multilabel" else 1
    if len(paths) != expected:
        raise DataError(
            f"{', '.join(str(path) for path in paths)}: {count(len(paths), 'mask')} of one "
            f"image; a {data.task} task of {len(data.classes)} classes has {expected}"
        )


def check_match(image: tuple[PurePath, ImageHeader], mask: tuple[PurePath, ImageHeader]) -> None:
    """Raise DataError if an image and its mask differ in size or orientation."""
    (image_path, image_header), (mask_path, mask_header) = image, mask
    if (image_header.height, image_header.width) != (mask_header.height, mask_header.width):
        turned = " (rotated by its EXIF orientation)" if image_header.orientation > 4 else ""
        raise DataError(
            f"{image_path}: {image_header.width}x{image_header.height}{turned}, but its mask "
            f"{mask_path.name} is {mask_header.width}x{mask_header.height}; an image and its mask "
            "must have one size"
        )
    # 1 is accepted: annotation tools often write masks without EXIF.
    if mask_header.orientation not in (1, image_header.orientation):
        raise DataError(
            f"{mask_path}: EXIF orientation {mask_header.orientation}, but its image "
            f"{image_path.name} has {image_header.orientation}; save both upright"
        )
