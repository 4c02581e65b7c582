"""Decode an image file into its stored samples, after a check of its header.

A file that needs a guess (other channels, 16 bits without a range) is refused.
"""

import struct
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.text import count
from harness.data.files.headers import ImageHeader, read_header
from harness.data.files.palettes import bmp_as_grey, png_as_grey
from harness.data.files.source import DataSource, RelativePath
from harness.data.files.stated_size import METADATA_BYTES, read_stated_size
from harness.data.files.tiff import decode_tiff
from harness.data.files.tiff_layout import read_tiff_layout

Samples = NDArray[Any]  # uint8 or uint16: the type is known only after the file is read

_BYTES_PER_PIXEL = 4
# Largest difference of red, green and blue in a lossy file that still counts as grey: JPEG stores
# chroma at half resolution, so decoded grey masks are slightly coloured.
_GREY_SPREAD = 16


class TooManyPixelsError(DataError):
    """An image of more pixels than may be decoded together."""


class ImageFile(NamedTuple):
    """A complete image file, not yet decoded; `path` is its name in messages."""

    path: PurePath
    data: bytes
    header: ImageHeader


@dataclass(frozen=True, eq=False)
class RawMask:
    """A mask as stored.

    Attributes:
        samples: grey values (H, W), palette indices (H, W), or colours (H, W, 3) in RGB order.
        lossless: True if the samples are exactly the values that were saved.
        palette: colours (n, 3) of the indices; None for other files.
    """

    samples: Samples
    lossless: bool
    palette: NDArray[np.uint8] | None = None


def load_image_file(source: DataSource, name: RelativePath, max_pixels: float) -> ImageFile:
    """Read a file's bytes and parse its header.

    Raises:
        DataError: absent, unreadable, or too large: above `max_pixels` or 4 bytes for each, or far
            more bytes than its own pixels. This is found before anything large is allocated.
    """
    path = source.root / name
    try:
        data = _read_bounded(source, name, max_pixels)
        header = read_header(data)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    _check_pixels(path, header.width, header.height, max_pixels, header.samples * header.bits // 8)
    return ImageFile(path, data, header)


def _read_bounded(source: DataSource, name: RelativePath, max_pixels: float) -> bytes:
    # The size is asked first: read() would load a file of any length into memory.
    n_bytes, path = source.size(name), source.root / name
    if n_bytes > _BYTES_PER_PIXEL * max_pixels + METADATA_BYTES:
        raise DataError(f"{path}: {n_bytes:,} bytes; too large for an image")
    with source.open(name) as handle:
        if (stated := read_stated_size(handle, n_bytes)) is not None:
            _check_pixels(path, *stated, max_pixels)
        handle.seek(0)
        return handle.read()


def _check_pixels(
    path: PurePath, width: int, height: int, max_pixels: float, bytes_per_pixel: int = 1
) -> None:
    n_pixels = height * width
    if n_pixels > max_pixels or n_pixels * bytes_per_pixel > _BYTES_PER_PIXEL * max_pixels:
        per_pixel = f" of {bytes_per_pixel} bytes" if n_pixels <= max_pixels else ""
        raise TooManyPixelsError(
            f"{path}: {width}x{height}{per_pixel} is more than {max_pixels:,.0f} "
            f"pixels{' of 4' if per_pixel else ''}; raise limits.max_pixels if that is correct"
        )


def image_samples(file: ImageFile, channels: int) -> Samples:
    """Decode an image (H, W, channels) without rotation; grey is repeated for three channels.

    Raises:
        DataError: damaged, or the number of samples without alpha differs from `channels`.
    """
    header = file.header
    check_channels(file.path, header, channels)
    colours = header.samples - header.alpha
    if header.kind == "TIFF":
        stored = _decode_tiff(file)
        if header.palette:
            stored = _read_tiff_palette(file)[stored[..., 0]]
    elif channels == header.samples and header.alpha:
        stored = _decode_with_alpha(file, channels)
    elif colours == 1:
        stored = _decode(file, cv2.IMREAD_GRAYSCALE)[..., None]
    else:
        stored = _bgr_to_rgb(_decode(file, cv2.IMREAD_COLOR))
    return select_channels(stored, header, channels)


def check_channels(path: PurePath, header: ImageHeader, channels: int) -> None:
    """Raise DataError if a file does not have the channels of the study."""
    colours = header.samples - header.alpha
    if not (channels in (header.samples, colours) or (channels, colours) == (3, 1)):
        raise DataError(f"{path}: {_channel_mismatch(header, channels)}")


def select_channels(stored: Samples, header: ImageHeader, channels: int) -> Samples:
    """Drop alpha, or repeat grey for three channels."""
    if channels == 3 and header.samples - header.alpha == 1:
        return np.repeat(stored[..., :1], 3, axis=2)
    return stored[..., :channels]


def _decode_with_alpha(file: ImageFile, channels: int) -> Samples:
    # OpenCV gives grey with alpha as four channels
    stored = _decode(file, cv2.IMREAD_UNCHANGED)[..., : 4 if channels == 4 else None]
    return _bgr_to_rgb(stored) if channels == 4 else stored[..., [0, 3]]


def mask_samples(file: ImageFile) -> RawMask:
    """Decode a mask without alpha; an RGB mask of grey colours only becomes grey.

    Raises:
        DataError: damaged, or neither one sample a pixel nor three.
    """
    header = file.header
    if header.palette:
        return _read_palette_indices(file)
    samples = _grey_or_colour_samples(file, mask_colours(file.path, header))
    # Annotation tools may draw the region into the alpha channel of an otherwise empty image.
    if header.alpha and samples.min() == samples.max():
        _check_alpha(file)
    return RawMask(samples, header.lossless)


def mask_colours(path: PurePath, header: ImageHeader) -> int:
    """Number of samples a pixel without alpha, 1 or 3.

    Raises:
        DataError: another number, or a TIFF of JPEG compression.
    """
    if header.kind == "TIFF" and not header.lossless:
        raise DataError(
            f"{path}: a mask in a TIFF of JPEG compression, which changes its values; save it with "
            "LZW or deflate"
        )
    colours = header.samples - header.alpha
    if colours not in (1, 3):
        raise DataError(
            f"{path}: has {colours} samples a pixel; a mask has one, or the three of a colour"
        )
    return colours


def _grey_or_colour_samples(file: ImageFile, colours: int) -> Samples:
    """Decode one or three samples a pixel; (H, W), or (H, W, 3) if the colours are not grey."""
    if file.header.kind == "TIFF":
        samples = _decode_tiff(file)[..., :colours]
        samples = samples[..., 0] if colours == 1 else samples
    elif colours == 1:
        samples = _decode(file, cv2.IMREAD_GRAYSCALE)
    else:
        samples = _bgr_to_rgb(_decode(file, cv2.IMREAD_COLOR))
    if samples.ndim == 3:
        spread = channel_spread(samples)
        if spread == 0:
            return np.ascontiguousarray(samples[..., 0])
        if not file.header.lossless and spread <= _GREY_SPREAD:
            return _decode(file, cv2.IMREAD_GRAYSCALE)
    return samples


def _check_alpha(file: ImageFile) -> None:
    tiff = file.header.kind == "TIFF"
    alpha = (_decode_tiff(file) if tiff else _decode(file, cv2.IMREAD_UNCHANGED))[..., -1]
    if alpha.min() != alpha.max():
        raise alpha_error(file.path)


def alpha_error(path: PurePath) -> DataError:
    """Error of a mask that is drawn into its alpha channel."""
    return DataError(
        f"{path}: has one colour only, but its alpha channel varies; alpha is ignored, so "
        "save the mask as grey"
    )


def apply_orientation(image: Samples, orientation: int) -> Samples:
    """Rotate and mirror stored pixels by EXIF orientation 1..8 (TIFF 6.0, tag 274)."""
    if orientation > 4:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _decode(file: ImageFile, mode: int, data: bytes | None = None) -> Samples:
    header = file.header
    # Without ANYDEPTH OpenCV cuts 16 bits to 8; without IGNORE_ORIENTATION it rotates by EXIF, and
    # the image and its mask could end up rotated differently.
    flags = mode | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        decoded = cv2.imdecode(np.frombuffer(file.data if data is None else data, np.uint8), flags)
    except cv2.error:
        decoded = None
    if decoded is None or decoded.shape[:2] != (header.height, header.width):
        raise DataError(f"{file.path}: a damaged {header.kind} image; copy or download it again")
    if decoded.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{file.path}: samples of {decoded.dtype}; save it with 8 or 16 bits")
    return np.asarray(decoded)


def _decode_tiff(file: ImageFile) -> Samples:
    try:
        return decode_tiff(file.data)
    except (ValueError, struct.error) as error:
        raise DataError(f"{file.path}: {error}") from None


def _bgr_to_rgb(image: Samples) -> Samples:
    """Swap BGR to RGB in place, without a second copy of a large image."""
    blue = image[..., 0].copy()
    image[..., 0] = image[..., 2]
    image[..., 2] = blue
    return image


def _channel_mismatch(header: ImageHeader, channels: int) -> str:
    colours = header.samples - header.alpha
    alpha = " and alpha" if header.alpha else ""
    if channels == 1 and colours == 3:
        return f"has colours{alpha}, but data.channels is 1; set it to 3, or save the image as grey"
    return (
        f"has {colours} sample{'s' if colours > 1 else ''} a pixel{alpha}, but data.channels is "
        f"{channels}; set data.channels to the number that all images have"
    )


def channel_spread(colours: Samples) -> int:
    """Largest difference between two channels of one pixel."""
    red, green, blue = (colours[..., index] for index in range(3))
    return max(int(cv2.absdiff(a, b).max()) for a, b in ((red, green), (green, blue), (red, blue)))


def _read_palette_indices(file: ImageFile) -> RawMask:
    """Read the indices of a palette image. OpenCV would decode to colours."""
    if file.header.kind == "TIFF":
        return RawMask(_decode_tiff(file)[..., 0], lossless=True, palette=_read_tiff_palette(file))
    try:
        convert = png_as_grey if file.header.kind == "PNG" else bmp_as_grey
        # Decoders scale fewer than 8 bits of grey to 0..255; the scale undoes that.
        data, palette, scale = convert(file.data)
    except (struct.error, ValueError):
        raise DataError(f"{file.path}: a damaged palette; copy or download it again") from None
    indices = _decode(file, cv2.IMREAD_GRAYSCALE, data) // np.uint8(scale)
    # numpy would raise IndexError much later, where a class is looked up, without the file's name.
    if indices.max() >= len(palette):
        raise DataError(
            f"{file.path}: a damaged palette: {count(len(palette), 'colour')}, but index "
            f"{indices.max()}"
        )
    return RawMask(indices, lossless=True, palette=palette)


def _read_tiff_palette(file: ImageFile) -> NDArray[np.uint8]:
    """Read the palette (n, 3) of a TIFF."""
    colours = read_tiff_layout(file.data).colours
    return np.zeros((256, 3), np.uint8) if colours is None else colours
