"""Describe the values stored in a mask, and tell class values from noise and object numbers."""

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

MAX_VALUES: Final = 64  # a mask with more different values is a photograph, not classes

# Kvasir-SEG masks are JPEG: values 0..8 and 246..255 (measured on all 1000), so "== 255" and "> 0"
# both lose or invent pixels.
MASK_THRESHOLD = 127
DARKEST, BRIGHTEST = 8, 246
JPEG_BLOCK: Final = 8  # JPEG smears an edge over one block, never further
MAX_IN_EXAMPLE: Final = 3  # values that a reader can assign to classes without further help
_PEAK = 0.01  # smallest share of the pixels for the value of an area
_MAX_TESTED = 16  # values of a mask that are tested as objects: each costs a labelling pass
_MIN_OBJECTS = 4  # two or three classes may form one object each as well
_MIN_OBJECT_SHARE = (
    0.9  # share of the values that are one object: another may hide the middle of one
)
# YAML reads names such as yes, no or null as booleans or None, so those need quotes.
_PLAIN_NAME = re.compile(r"(?!(?:yes|no|on|off|true|false|null|y|n)$)[a-z][a-z0-9 ._-]*", re.I)
_INDEX_BELOW = 32  # only up to this value without a palette: higher values may be codec noise
_ALL_ROWS: Final = slice(None)
_ROWS = 1 << 20  # pixels processed together where intermediate arrays are large


@dataclass(frozen=True)
class MaskValues:
    """Values in the files of a mask, before they have a meaning.

    Attributes:
        kind: two-valued (at most two values), noisy (0 and 255 with JPEG noise around them),
            indexed (up to 64 grey values), colours (up to 64 of them), grey (anything else).
        numbered: True if each value is one object, as in instance masks.
        values: grey values as `128`, colours as `#rrggbb`, ascending; () if kind is grey or
            noisy.
    """

    kind: ValueKind = "two-valued"
    values: tuple[str, ...] = ("0", "255")
    numbered: bool = False


def describe_values(raw: RawMask) -> MaskValues:
    """Describe the values of one mask file."""
    numbered = has_instance_ids(raw)
    if raw.samples.ndim == 3:
        codes = distinct_colours(raw.samples)
        return summarize_values(codes, colours=True, lossless=raw.lossless, numbered=numbered)
    values = np.flatnonzero(value_counts(raw.samples))
    noisy = _is_noisy(raw, {int(value) for value in values})
    return summarize_values(
        values, colours=False, lossless=raw.lossless, noisy=noisy, numbered=numbered
    )


def summarize_values(
    values: Numbers, *, colours: bool, lossless: bool, noisy: bool = False, numbered: bool
) -> MaskValues:
    """Describe a mask by its distinct values, ascending."""
    if colours:
        if len(values) > MAX_VALUES:
            return MaskValues("grey", (), numbered)
        return MaskValues("colours", tuple(value_keys(values, colours=True)), numbered)
    if noisy:
        return MaskValues("noisy", ())
    if len(values) > MAX_VALUES or (not lossless and len(values) > 2):
        return MaskValues("grey", (), numbered)
    kind: ValueKind = "two-valued" if len(values) <= 2 else "indexed"
    return MaskValues(kind, tuple(value_keys(values, colours=False)), numbered)


def has_instance_ids(raw: RawMask) -> bool:
    """True if there are four or more values and each but 0 is one connected object.

    Classes may look like that in a single image too; `has_instance_masks` compares many images.
    """
    if not raw.lossless:
        return False
    grey = raw.samples.ndim == 2
    values = np.flatnonzero(value_counts(raw.samples)) if grey else distinct_colours(raw.samples)
    tested = tested_objects(values, has_void=grey and raw.samples.dtype == np.uint8)
    if not len(tested):
        return False
    samples = raw.samples if grey else colour_codes(raw.samples)
    n_possible = len(tested)
    for value in tested:  # stops early: the values of soft edges fail within the first few
        n_possible -= not _is_object(samples == value)
        if not enough_objects(n_possible, len(tested)):
            return False
    return True


def tested_objects(values: Numbers, *, has_void: bool) -> Numbers:
    """Values of a mask that are tested as objects; none if they cannot be numbers of objects."""
    if len(values) <= _MIN_OBJECTS or values[0] != 0:
        return values[:0]
    void = IGNORE_INDEX if has_void else None
    objects = values[(values != 0) & (values != void)]
    return np.asarray(objects[:: max(1, len(objects) // _MAX_TESTED)][:_MAX_TESTED])


def enough_objects(n_objects: int, n_tested: int) -> bool:
    """True if so many of the tested values are objects that the others may be accidents."""
    return n_objects >= _MIN_OBJECT_SHARE * n_tested


def _is_object(region: NDArray[np.bool_]) -> bool:
    """True if a region is connected and has an interior: values of soft edges are thin specks."""
    plane = region.astype(np.uint8)
    n_pieces = cv2.connectedComponents(plane)[0] - 1
    return n_pieces == 1 and bool(cv2.erode(plane, np.ones((3, 3), np.uint8)).any())


def merge_values(descriptions: Sequence[MaskValues]) -> MaskValues:
    """Combine the descriptions of several masks into one."""
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
    """Example mapping for `data.values:`; the first values become the first classes.

    In a two-class task with more values the last one is the foreground, and those in between are
    ignored.
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
    """Format values as keys of `data.values`: 128, or #ff8000."""
    return [f"#{int(value):06x}" if colours else str(value) for value in values]


def format_values(values: Numbers, *, colours: bool) -> str:
    """Format the first six values and the number of all."""
    text = ", ".join(value_keys(values[:6], colours=colours))
    return text if len(values) <= 6 else f"{text}, ... ({len(values)} different)"


def value_counts(grey: Samples) -> NDArray[np.int64]:
    """Number of pixels of each value. By rows: bincount copies its input to 8 bytes a pixel."""
    n_values = np.iinfo(grey.dtype).max + 1
    counts = np.zeros(n_values, np.int64)
    for rows in row_blocks(grey):
        counts += np.bincount(grey[rows].ravel(), minlength=n_values)
    return counts


def value_peaks(grey: Samples) -> NDArray[np.int64]:
    """Values of areas in a lossy mask, ascending: frequent values that are far apart."""
    counts = value_counts(grey)
    peak_values: list[int] = []
    # Most frequent first: an area's own value precedes the values that the codec put around it.
    for value in np.argsort(counts)[::-1]:
        if counts[value] < _PEAK * grey.size:
            break
        if all(abs(int(value) - peak) > 2 * DARKEST for peak in peak_values):
            peak_values.append(int(value))
    return np.array(sorted(peak_values), np.int64)


def distinct_colours(colours: Samples) -> NDArray[np.int64]:
    """Distinct colours of (H, W, 3) as 0xRRGGBB, ascending; the upper 8 of 16 bits."""
    seen = np.zeros(1 << 24, bool)  # 16 MB for all colours; np.unique would sort every pixel
    for rows in row_blocks(colours):
        seen[colour_codes(colours[rows])] = True
    return np.flatnonzero(seen)


def colour_codes(colours: Samples) -> NDArray[np.int32]:
    """0xRRGGBB of each pixel."""
    part = colours.astype(np.int32) >> (8 if colours.dtype == np.uint16 else 0)
    return np.asarray(part[..., 0] << 16 | part[..., 1] << 8 | part[..., 2], np.int32)


def row_blocks(image: Samples) -> list[slice]:
    """Slices of rows of about a million pixels."""
    step = max(1, _ROWS // image.shape[1])
    return [slice(top, top + step) for top in range(0, image.shape[0], step)]


def has_grey_areas(
    grey: Samples, labels: Array8, *, lossless: bool, rows: slice = _ALL_ROWS
) -> bool:
    """True if values between dark and bright form areas and are not only smeared edges.

    Args:
        rows: rows that count; the others are their surroundings.
    """
    middle = (grey > DARKEST) & (grey < BRIGHTEST)
    if not middle[rows].any():
        return False
    if (middle & ~near_edge(labels))[rows].any():
        return True
    # A band of one value along every edge is a third class (a trimap), not smear.
    return lossless and bool((middle & flat_pixels(grey))[rows].any())


def has_small_numbers(grey: Samples, rows: slice = _ALL_ROWS) -> bool:
    """True if a lossless mask has areas of 1 to 8 besides 0 and 255: class indices and void."""
    small = (grey >= 1) & (grey <= DARKEST)
    if not small[rows].any() or ((grey > DARKEST) & (grey < 255)).any():
        return False
    return bool((small & flat_pixels(grey))[rows].any())


def flat_pixels(grey: Samples) -> NDArray[np.bool_]:
    """True where a pixel and its eight neighbours have one value."""
    kernel = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.dilate(grey, kernel) == cv2.erode(grey, kernel))


def near_edge(labels: Samples) -> NDArray[np.bool_]:
    """True within 8 pixels of another label: the distance over which JPEG smears an edge."""
    kernel = np.ones((2 * JPEG_BLOCK + 1, 2 * JPEG_BLOCK + 1), np.uint8)
    return np.asarray(cv2.dilate(labels, kernel) != cv2.erode(labels, kernel))


def _is_noisy(raw: RawMask, stored: set[int]) -> bool:
    """True if a grey mask was saved as 0 and 255 and its other values are smeared edges."""
    if not may_be_noisy(stored, lossless=raw.lossless, has_palette=raw.palette is not None):
        return False
    mask = (raw.samples > MASK_THRESHOLD).astype(np.uint8)
    return not has_grey_areas(raw.samples, mask, lossless=raw.lossless)


def may_be_noisy(stored: set[int], *, lossless: bool, has_palette: bool) -> bool:
    """True if values other than 0 and 255 can be smeared edges."""
    if stored <= {0, 255} or has_palette:
        return False
    top = max(stored - {IGNORE_INDEX}, default=0)
    return top <= 255 and not (lossless and top < _INDEX_BELOW)
