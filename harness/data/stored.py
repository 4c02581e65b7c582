"""How pictures are stored, before anybody says what their values mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.data.decode import File, Samples, mask_samples
from harness.data.headers import Header, read_header
from harness.data.mask_values import distinct_colours

Mode = Literal["grey", "grey+alpha", "RGB", "RGBA", "palette", "CMYK", "other"]
ValueKind = Literal["two-valued", "noisy", "indexed", "colours", "grey"]

MOST_VALUES: Final = 64  # more different values than that are a picture, not classes
_DARKEST, _BRIGHTEST = 8, 246  # as JPEG leaves 0 and 255 in Kvasir-SEG
_MOST_MIDDLE: Final = 0.1  # share of pixels that JPEG may leave between them
_SLACK_BYTES: Final = 16_000_000
_BY_SAMPLES: Final[dict[int, Mode]] = {1: "grey", 2: "grey+alpha", 3: "RGB", 4: "RGBA"}


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
    return Stored(header.kind, _mode(header), header.bits, header.orientation)


def describe_mask(data: bytes) -> MaskValues:
    """The values in a mask file. Raises ValueError or DataError where it cannot be decoded."""
    raw = mask_samples(File(Path(), data, read_header(data)))
    plane = raw.samples if raw.samples.ndim == 2 else None
    return _colours(raw.samples) if plane is None else _greys(plane, lossless=raw.lossless)


def _mode(header: Header) -> Mode:
    if header.palette:
        return "palette"
    if header.cmyk:
        return "CMYK"
    if header.samples == 2 or header.samples == 4:
        return _BY_SAMPLES[header.samples] if header.alpha else "other"
    return _BY_SAMPLES.get(header.samples, "other")


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


def _colours(samples: Samples) -> MaskValues:
    codes = distinct_colours(samples)
    if len(codes) > MOST_VALUES:
        return MaskValues("grey", ())
    return MaskValues("colours", tuple(f"#{code:06x}" for code in codes))
