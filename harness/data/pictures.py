"""Reading one image or mask: checked before it is decoded, never guessed at."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.data.headers import Header, read_header
from harness.data_config import StudyDataConfig
from harness.errors import DataError

Array8 = NDArray[np.uint8]

# Kvasir-SEG masks are JPEG: values 0..8 and 246..255 (measured on all 1000), so "== 255" and "> 0"
# both lose or invent pixels.
MASK_THRESHOLD = 127
_DARKEST, _BRIGHTEST = 8, 246
_JPEG_BLOCK = 8  # JPEG smears an edge over one block, never further
_SLACK_BYTES = 16_000_000


class LoadedPair(NamedTuple):
    """An image uint8 (H, W, 3) RGB with its mask uint8 (H, W) in {0, 1}, and both hashes."""

    image: Array8
    mask: Array8
    image_sha256: str
    mask_sha256: str


def read_image(path: Path, max_pixels: float) -> Array8:
    """An image as uint8 (H, W, 3), RGB, upright; grey is repeated, alpha dropped.

    Raises:
        DataError: absent, undecodable, truncated, not 8-bit, or above `max_pixels`.
    """
    return _decode_image(*_load(path, max_pixels), path)


def read_mask(paths: Sequence[Path], data: StudyDataConfig, max_pixels: float) -> Array8:  # noqa: ARG001
    """A two-class mask as uint8 (H, W) in {0, 1}, as stored (`read_pair` turns it with its image).

    Grey values above 127 are foreground; a lossless mask of 0 and 1 is taken as it is.

    Raises:
        DataError: as `read_image`; also for a mask that is not two-valued.
    """
    (path,) = paths
    return _decode_mask(*_load(path, max_pixels), path)


def read_pair(
    image_path: Path,
    mask_paths: Sequence[Path],
    data: StudyDataConfig,  # noqa: ARG001
    max_pixels: float,
) -> LoadedPair:
    """An image and its mask, which must have one size.

    An EXIF orientation of the image turns both: annotation tools draw on the pixels as stored.

    Raises:
        DataError: as `read_image` and `read_mask`; both sizes where they differ.
    """
    (mask_path,) = mask_paths
    image_data, image_header = _load(image_path, max_pixels)
    mask_data, mask_header = _load(mask_path, max_pixels)
    _check_match(image_path, image_header, mask_path, mask_header)
    mask = _decode_mask(mask_data, mask_header, mask_path)
    return LoadedPair(
        _decode_image(image_data, image_header, image_path),
        _upright(mask, image_header.orientation),
        hashlib.sha256(image_data).hexdigest(),
        hashlib.sha256(mask_data).hexdigest(),
    )


def _load(path: Path, max_pixels: float) -> tuple[bytes, Header]:
    """A file's bytes and header. Raises DataError before anything large is allocated."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        if path.stat().st_size > 8 * max_pixels + _SLACK_BYTES:  # 8: four samples of 16 bits
            raise DataError(f"{path}: {path.stat().st_size:,} bytes; too large for an image")
        data = path.read_bytes()
        header = read_header(data)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    if header.height * header.width > max_pixels:
        raise DataError(
            f"{path}: {header.width}x{header.height} is more than {max_pixels:,.0f} pixels; "
            "raise limits.max_pixels if it is meant"
        )
    return data, header


def _check_match(image: Path, of_image: Header, mask: Path, of_mask: Header) -> None:
    if (of_image.height, of_image.width) != (of_mask.height, of_mask.width):
        turned = " (its EXIF orientation turns it)" if of_image.orientation > 4 else ""
        raise DataError(
            f"{image}: {of_image.width}x{of_image.height}{turned}, but its mask {mask.name} is "
            f"{of_mask.width}x{of_mask.height}; an image and its mask must have one size"
        )
    if of_mask.orientation not in (1, of_image.orientation):
        raise DataError(
            f"{mask}: EXIF orientation {of_mask.orientation}, but its image {image.name} has "
            f"{of_image.orientation}; save both upright"
        )


def _decode_image(data: bytes, header: Header, path: Path) -> Array8:
    decoded = _decode(data, header, path, cv2.IMREAD_COLOR)
    return _upright(
        np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8), header.orientation
    )


def _decode_mask(data: bytes, header: Header, path: Path) -> Array8:
    grey = _decode(data, header, path, cv2.IMREAD_GRAYSCALE)
    top = int(grey.max())
    if header.lossless and top <= 1:
        return grey
    mask = (grey > MASK_THRESHOLD).astype(np.uint8)
    if (header.lossless and top <= _DARKEST) or _has_grey_areas(grey, mask):
        raise DataError(
            f"{path}: values {_some_values(grey)} are not two-valued; a mask has 0 (background) "
            "and 255 (foreground), or 0 and 1"
        )
    return mask


def _decode(data: bytes, header: Header, path: Path, how: int) -> Array8:
    flags = how | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        decoded = None
    if decoded is None or decoded.shape[:2] != (header.height, header.width):
        raise DataError(f"{path}: a damaged {header.kind} image; copy or download it again")
    if decoded.dtype != np.uint8:
        bits = 8 * decoded.dtype.itemsize
        raise DataError(f"{path}: {bits} bits a sample; save it with 8 bits, scaled as you mean it")
    return np.asarray(decoded, np.uint8)


def _has_grey_areas(grey: Array8, mask: Array8) -> bool:
    """Whether values between dark and bright lie further from every edge than JPEG smears."""
    middle = (grey > _DARKEST) & (grey < _BRIGHTEST)
    if not middle.any():
        return False
    kernel = np.ones((2 * _JPEG_BLOCK + 1, 2 * _JPEG_BLOCK + 1), np.uint8)
    near_edge = cv2.dilate(mask, kernel) != cv2.erode(mask, kernel)
    return bool((middle & ~near_edge).any())


def _some_values(grey: Array8) -> str:
    values = np.unique(grey)
    shown = ", ".join(str(value) for value in values[:6])
    return shown if len(values) <= 6 else f"{shown}, ... ({len(values)} different)"


def _upright(picture: Array8, orientation: int) -> Array8:
    """Turn stored pixels as EXIF orientation 1..8 asks (TIFF 6.0, tag 274)."""
    if orientation > 4:
        picture = picture.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)
