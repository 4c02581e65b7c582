"""How pictures are stored, before anybody says what their values mean."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.data.headers import read_header

Mode = Literal["grey", "grey+alpha", "RGB", "RGBA", "palette", "CMYK", "other"]
ValueKind = Literal["two-valued", "noisy", "indexed", "colours", "grey"]

MOST_VALUES: Final = 64  # more different values than that are a picture, not classes
_DARKEST, _BRIGHTEST = 8, 246  # as JPEG leaves 0 and 255 in Kvasir-SEG
_MOST_MIDDLE: Final = 0.1  # share of pixels that JPEG may leave between them
_SLACK_BYTES: Final = 16_000_000
_PNG_MODES: Final[dict[int, Mode]] = {
    0: "grey",
    2: "RGB",
    3: "palette",
    4: "grey+alpha",
    6: "RGBA",
}
_BY_SAMPLES: Final[dict[int, Mode]] = {1: "grey", 2: "grey+alpha", 3: "RGB", 4: "RGBA"}
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_SAMPLES = 258, 262, 277
_TIFF_PALETTE, _TIFF_SEPARATED = 3, 5


@dataclass(frozen=True)
class Stored:
    """What a file's header says: its kind (JPEG, PNG, ...), samples, bits of each, orientation."""

    kind: str = "PNG"
    mode: Mode = "RGB"
    bits: int = 8
    orientation: int = 1


@dataclass(frozen=True)
class MaskValues:
    """The values in the files of a mask.

    Attributes:
        kind: two-valued (at most two values), noisy (two values with JPEG's noise around them),
            indexed (up to 64 grey values), colours (up to 64 of them), grey (anything else).
        values: grey values as `128`, colours as `#rrggbb`, rising; () where kind is grey or noisy.
    """

    kind: ValueKind = "two-valued"
    values: tuple[str, ...] = ("0", "255")


def read_bounded(path: Path, max_pixels: float) -> bytes:
    """A file that can be decoded without harm. Raises OSError or ValueError where it cannot be."""
    if path.stat().st_size > 8 * max_pixels + _SLACK_BYTES:  # 8: four samples of 16 bits
        raise ValueError("too large for an image")
    data = path.read_bytes()
    header = read_header(data)
    if header.height * header.width > max_pixels:
        raise ValueError("more pixels than are allowed")
    return data


def describe_image(data: bytes) -> Stored:
    """What the header of an image file says. Raises ValueError as `read_header`."""
    header = read_header(data)
    readers = {"PNG": _png, "JPEG": _jpeg, "BMP": _bmp, "TIFF": _tiff, "WebP": _webp}
    mode, bits = readers[header.kind](data)
    return Stored(header.kind, mode, bits, header.orientation)


def describe_mask(data: bytes) -> MaskValues:
    """The values in a mask file. Raises ValueError where it cannot be decoded."""
    lossless = read_header(data).lossless
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        decoded = None
    if decoded is None or decoded.dtype not in (np.uint8, np.uint16):
        raise ValueError("cannot be decoded")
    plane = _grey_plane(decoded)
    return _colours(decoded) if plane is None else _greys(plane, lossless=lossless)


def _greys(plane: NDArray[Any], *, lossless: bool) -> MaskValues:
    if plane.dtype == np.uint8:  # np.unique sorts, which takes twenty times as long
        values = np.flatnonzero(np.bincount(plane.ravel(), minlength=256))
    else:
        values = np.unique(plane)
    if len(values) > 2 and not lossless:
        middle = (plane > _DARKEST) & (plane < _BRIGHTEST)
        return MaskValues("noisy" if middle.mean() < _MOST_MIDDLE else "grey", ())
    if len(values) > MOST_VALUES:
        return MaskValues("grey", ())
    shown = tuple(str(value) for value in values)
    return MaskValues("two-valued" if len(values) <= 2 else "indexed", shown)


def joined(found: Sequence[MaskValues]) -> MaskValues:
    """The values of several masks together."""
    kinds = {one.kind for one in found}
    values = tuple(sorted({value for one in found for value in one.values}, key=_rank))
    if "grey" in kinds or len(values) > MOST_VALUES:
        return MaskValues("grey", ())
    if "colours" in kinds:
        return MaskValues("colours", values)
    if "noisy" in kinds:
        return MaskValues("noisy", ())
    return MaskValues("two-valued" if len(values) <= 2 else "indexed", values)


def _rank(value: str) -> tuple[int, str]:
    return (-1, value) if value.startswith("#") else (int(value), "")


def _grey_plane(decoded: NDArray[Any]) -> NDArray[Any] | None:
    """The one plane of a picture without colour; None if it has colour."""
    if decoded.ndim == 2:
        return decoded
    first = decoded[:, :, 0]
    colour = decoded[:, :, : 3 if decoded.shape[2] >= 3 else 1]
    return first if (colour == first[:, :, None]).all() else None


def _colours(decoded: NDArray[Any]) -> MaskValues:
    if decoded.dtype != np.uint8:
        return MaskValues("grey", ())
    wide = decoded[:, :, :3].astype(np.uint32)
    codes = np.unique(wide[:, :, 2] << 16 | wide[:, :, 1] << 8 | wide[:, :, 0])  # stored as BGR
    if len(codes) > MOST_VALUES:
        return MaskValues("grey", ())
    return MaskValues("colours", tuple(f"#{code:06x}" for code in codes))


def _png(data: bytes) -> tuple[Mode, int]:
    return _PNG_MODES.get(data[25], "other"), data[24]


def _jpeg(data: bytes) -> tuple[Mode, int]:
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            at += 1
        elif data[at + 1] in _JPEG_FRAMES:
            return _by_samples(data[at + 9], four="CMYK"), data[at + 4]
        elif data[at + 1] in (0xFF, 0x00) or 0xD0 <= data[at + 1] <= 0xD8:
            at += 1 if data[at + 1] == 0xFF else 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return "other", 8


def _bmp(data: bytes) -> tuple[Mode, int]:
    bits = int.from_bytes(data[28:30], "little")
    return ("palette", bits) if bits <= 8 else ("RGBA" if bits == 32 else "RGB", 8)


def _webp(data: bytes) -> tuple[Mode, int]:
    extended_alpha = data[12:16] == b"VP8X" and bool(data[20] & 0x10)
    lossless_alpha = data[12:16] == b"VP8L" and bool(data[24] & 0x10)
    return ("RGBA" if extended_alpha or lossless_alpha else "RGB"), 8


def _tiff(data: bytes) -> tuple[Mode, int]:
    """Of the first picture in the file."""
    order = "<" if data[:2] == b"II" else ">"
    tags: dict[int, int] = {}
    try:
        (at,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, at)
        for place in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, n = struct.unpack_from(order + "HHI", data, place)
            if kind == 3:
                where = place + 8 if n <= 2 else struct.unpack_from(order + "I", data, place + 8)[0]
                tags[tag] = struct.unpack_from(order + "H", data, where)[0]
    except struct.error:
        return "other", 8
    bits = tags.get(_TIFF_BITS, 1)
    photometric = tags.get(_TIFF_PHOTOMETRIC)
    if photometric == _TIFF_PALETTE:
        return "palette", bits
    four: Mode = "CMYK" if photometric == _TIFF_SEPARATED else "RGBA"
    return _by_samples(tags.get(_TIFF_SAMPLES, 1), four=four), bits


def _by_samples(samples: int, *, four: Mode) -> Mode:
    return four if samples == 4 else _BY_SAMPLES.get(samples, "other")
