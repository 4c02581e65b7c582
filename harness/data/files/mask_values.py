"""The values in a mask: which there are, what they look like, and how to say so in one line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, IGNORE_LABEL, StudyDataConfig
from harness.data.files.decode import RawMask, Samples

Array8 = NDArray[np.uint8]
Numbers = NDArray[np.integer]
ValueKind = Literal["two-valued", "noisy", "indexed", "colours", "grey"]

MAX_VALUES: Final = 64  # more different values than that are a picture, not classes

# Kvasir-SEG masks are JPEG: values 0..8 and 246..255 (measured on all 1000), so "== 255" and "> 0"
# both lose or invent pixels.
MASK_THRESHOLD = 127
DARKEST, BRIGHTEST = 8, 246
_JPEG_BLOCK = 8  # JPEG smears an edge over one block, never further
MAX_IN_EXAMPLE: Final = 3  # values of which a reader can guess which is which class
_PEAK = 0.01  # share of the pixels that an area's value has at least
_MAX_TESTED = 16  # values of a mask that are looked at as objects
_MIN_OBJECTS = 4  # classes, too, may be one object each where there are two or three
_MIN_OBJECT_SHARE = (
    0.9  # share of the values that are one object: another may hide the middle of one
)
# YAML reads other names as truth values or nothing.
_PLAIN_NAME = re.compile(r"(?!(?:yes|no|on|off|true|false|null|y|n)$)[a-z][a-z0-9 ._-]*", re.I)
_INDEX_BELOW = 32  # unless there is a palette: higher values may be the noise of a codec
_ROWS = 1 << 20  # pixels looked at together where intermediate values are large


@dataclass(frozen=True)
class MaskValues:
    """The values in the files of a mask, before anyone has said what they mean.

    Attributes:
        kind: two-valued (at most two values), noisy (0 and 255 with noise around them, as JPEG
            leaves it), indexed (up to 64 grey values), colours (up to 64 of them), grey (anything
            else).
        numbered: whether each value is one object, as in masks of instances.
        values: grey values as `128`, colours as `#rrggbb`, rising; () where kind is grey or noisy.
    """

    kind: ValueKind = "two-valued"
    values: tuple[str, ...] = ("0", "255")
    numbered: bool = False


def describe_values(raw: RawMask) -> MaskValues:
    """The values in one file of a mask."""
    numbered = has_instance_ids(raw)
    if raw.samples.ndim == 3:
        codes = distinct_colours(raw.samples)
        if len(codes) > MAX_VALUES:
            return MaskValues("grey", (), numbered)
        return MaskValues("colours", tuple(value_keys(codes, colours=True)), numbered)
    values = np.flatnonzero(value_counts(raw.samples))
    if _is_noisy(raw, {int(value) for value in values}):
        return MaskValues("noisy", ())
    if len(values) > MAX_VALUES or (not raw.lossless and len(values) > 2):
        return MaskValues("grey", (), numbered)
    kind: ValueKind = "two-valued" if len(values) <= 2 else "indexed"
    return MaskValues(kind, tuple(value_keys(values, colours=False)), numbered)


def has_instance_ids(raw: RawMask) -> bool:
    """Whether each value but 0 is one object in one piece, of four or more, as in instance masks.

    Classes may look so in one picture, too; only many pictures tell them apart.
    """
    if not raw.lossless:
        return False
    grey = raw.samples.ndim == 2
    values = np.flatnonzero(value_counts(raw.samples)) if grey else distinct_colours(raw.samples)
    if len(values) <= _MIN_OBJECTS or values[0] != 0:
        return False
    samples = raw.samples if grey else colour_codes(raw.samples)
    void = IGNORE_INDEX if grey and raw.samples.dtype == np.uint8 else None
    objects = values[(values != 0) & (values != void)]
    tested = objects[:: max(1, len(objects) // _MAX_TESTED)][:_MAX_TESTED]
    n_possible = len(tested)
    for value in tested:  # of soft edges the first few say it
        n_possible -= not _is_object(samples == value)
        if n_possible < _MIN_OBJECT_SHARE * len(tested):
            return False
    return True


def _is_object(region: NDArray[np.bool_]) -> bool:
    """Whether a region is one piece with an inside: the values of soft edges are specks."""
    plane = region.astype(np.uint8)
    n_pieces = cv2.connectedComponents(plane)[0] - 1
    return n_pieces == 1 and bool(cv2.erode(plane, np.ones((3, 3), np.uint8)).any())


def merge_values(descriptions: Sequence[MaskValues]) -> MaskValues:
    """The values of several masks together."""
    kinds = {description.kind for description in descriptions}
    numbered = any(description.numbered for description in descriptions)
    values = tuple(
        sorted(
            {value for description in descriptions for value in description.values}, key=_value_rank
        )
    )
    if "grey" in kinds or len(values) > MAX_VALUES:
        return MaskValues("grey", (), numbered)
    if "colours" in kinds:
        return MaskValues("colours", values, numbered)
    if "noisy" in kinds:
        return MaskValues("noisy", (), numbered)
    return MaskValues("two-valued" if len(values) <= 2 else "indexed", values, numbered)


def _value_rank(value: str) -> tuple[int, str]:
    return (-1, value) if value.startswith("#") else (int(value), "")


def example_values(values: tuple[str, ...] | list[str], data: StudyDataConfig) -> str:
    """A mapping to paste behind `data.values:`; the first values become the first classes.

    In a two-class task of more values the last one is the foreground, and those between are not
    counted.
    """
    listed, names = values, list(data.classes)
    if data.task == "binary":
        names = [names[0], *[IGNORE_LABEL] * (len(listed) - 2), names[-1]]
    names += [IGNORE_LABEL] * (len(listed) - len(names))
    pairs = [
        f"'{value}': {name if _PLAIN_NAME.fullmatch(name) else repr(name)}"
        for value, name in zip(listed, names, strict=False)
    ]
    return "{" + ", ".join(pairs) + "}"


def value_keys(values: Numbers, *, colours: bool) -> list[str]:
    """Values as keys of `data.values`: 128, or #ff8000."""
    return [f"#{int(value):06x}" if colours else str(value) for value in values]


def format_values(values: Numbers, *, colours: bool) -> str:
    """The first values, and how many there are."""
    text = ", ".join(value_keys(values[:6], colours=colours))
    return text if len(values) <= 6 else f"{text}, ... ({len(values)} different)"


def value_counts(grey: Samples) -> NDArray[np.int64]:
    """How many pixels have each value; by rows, since bincount makes its input eight bytes wide."""
    n_values = np.iinfo(grey.dtype).max + 1
    counts = np.zeros(n_values, np.int64)
    for rows in row_blocks(grey):
        counts += np.bincount(grey[rows].ravel(), minlength=n_values)
    return counts


def value_peaks(grey: Samples) -> NDArray[np.int64]:
    """The values of areas in a lossy mask, rising: frequent ones that lie apart."""
    counts = value_counts(grey)
    peak_values: list[int] = []
    for value in np.argsort(counts)[::-1]:
        if counts[value] < _PEAK * grey.size:
            break
        if all(abs(int(value) - peak) > 2 * DARKEST for peak in peak_values):
            peak_values.append(int(value))
    return np.array(sorted(peak_values), np.int64)


def distinct_colours(colours: Samples) -> NDArray[np.int64]:
    """Every colour (H, W, 3) as 0xRRGGBB, rising; of 16 bits the upper 8."""
    seen = np.zeros(1 << 24, bool)
    for rows in row_blocks(colours):
        seen[colour_codes(colours[rows])] = True
    return np.flatnonzero(seen)


def colour_codes(colours: Samples) -> NDArray[np.int32]:
    """0xRRGGBB of each pixel."""
    part = colours.astype(np.int32) >> (8 if colours.dtype == np.uint16 else 0)
    return np.asarray(part[..., 0] << 16 | part[..., 1] << 8 | part[..., 2], np.int32)


def row_blocks(picture: Samples) -> list[slice]:
    """Slices of rows of about a million pixels."""
    step = max(1, _ROWS // picture.shape[1])
    return [slice(top, top + step) for top in range(0, picture.shape[0], step)]


def has_grey_areas(grey: Samples, labels: Array8, *, lossless: bool) -> bool:
    """Whether values between dark and bright are areas, not edges that were smeared."""
    middle = (grey > DARKEST) & (grey < BRIGHTEST)
    if not middle.any():
        return False
    if (middle & ~near_edge(labels)).any():
        return True
    # A band of one value along every edge is a third class (a trimap), not smear.
    return lossless and bool((middle & flat_pixels(grey)).any())


def has_small_numbers(grey: Samples) -> bool:
    """Whether a lossless mask holds areas of 1 to 8 and else only 0 and 255: classes and void."""
    small = (grey >= 1) & (grey <= DARKEST)
    if not small.any() or ((grey > DARKEST) & (grey < 255)).any():
        return False
    return bool((small & flat_pixels(grey)).any())


def flat_pixels(grey: Samples) -> NDArray[np.bool_]:
    """Where a pixel and its eight neighbours have one value."""
    kernel = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.dilate(grey, kernel) == cv2.erode(grey, kernel))


def near_edge(labels: Samples) -> NDArray[np.bool_]:
    """Where another label lies within 8 pixels: as far as JPEG smears."""
    kernel = np.ones((2 * _JPEG_BLOCK + 1, 2 * _JPEG_BLOCK + 1), np.uint8)
    return np.asarray(cv2.dilate(labels, kernel) != cv2.erode(labels, kernel))


def _is_noisy(raw: RawMask, stored: set[int]) -> bool:
    """Whether a grey mask was 0 and 255, and other values are edges that a codec smeared."""
    if stored <= {0, 255} or raw.palette is not None:
        return False
    top = max(stored - {IGNORE_INDEX}, default=0)
    if top > 255 or (raw.lossless and top < _INDEX_BELOW):
        return False
    mask = (raw.samples > MASK_THRESHOLD).astype(np.uint8)
    return not has_grey_areas(raw.samples, mask, lossless=raw.lossless)
