"""From the values in a mask to its classes, by the rules of study.yaml's `data`, or an error."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.decode import RawMask, Samples
from harness.data.mask_values import (
    DARKEST,
    MASK_THRESHOLD,
    MOST_IN_EXAMPLE,
    Array8,
    Numbers,
    colour_codes,
    distinct_colours,
    example_values,
    has_grey_areas,
    has_small_numbers,
    near_edge,
    numbers_objects,
    peaks,
    row_blocks,
    shown,
    value_counts,
    written,
)
from harness.data_config import IGNORE, NONZERO, VOID, StudyDataConfig
from harness.errors import DataError

_NEAR = 8  # how far a lossy file moves a value inside an area
_NEAR_COLOUR = 64  # the same for colours, as a distance in RGB: chroma is stored more coarsely


def to_classes(raw: RawMask, data: StudyDataConfig, path: Path) -> Array8:
    """A mask of class indices (H, W), VOID where ignored; two-valued for a multilabel's part.

    Raises:
        DataError: a value whose meaning is not known.
    """
    if data.values == NONZERO:
        return _nonzero(raw, data, path)
    if isinstance(data.values, dict):
        return _by_values(raw, data, data.values, path)
    if data.task == "multiclass":
        return _by_index(raw, data, path)
    return _two_valued(raw, data, path)


def _two_valued(raw: RawMask, data: StudyDataConfig, path: Path) -> Array8:
    grey = _grey_of_palette(raw)
    if grey.ndim == 3:
        raise _undeclared(raw, distinct_colours(grey), data, path, colours=True)
    void = _void(grey, raw.lossless, None if data.task == "multilabel" else data.ignore_index)
    counted = np.where(void, grey.dtype.type(0), grey) if void.any() else grey
    top = int(counted.max())
    exact = raw.lossless and top <= 1
    mask = counted.astype(np.uint8) if exact else (counted > MASK_THRESHOLD).astype(np.uint8)
    if void.any():
        mask[void] = VOID
    classes = raw.lossless and (top <= DARKEST or has_small_numbers(counted))
    areas = has_grey_areas(counted, mask, lossless=raw.lossless)
    if not exact and (top > 255 or classes or areas):
        raise _undeclared(raw, np.flatnonzero(value_counts(grey)), data, path, colours=False)
    return mask


def _nonzero(raw: RawMask, data: StudyDataConfig, path: Path) -> Array8:
    """Numbers of objects, in grey, in a palette or as colours: all but 0 is the foreground."""
    if not raw.lossless:
        raise DataError(
            f"{path}: a lossy file cannot hold numbers of objects (data.values: nonzero); save "
            "masks as PNG"
        )
    samples = raw.samples
    if samples.ndim == 3:
        samples = samples.max(axis=2)
    mask: Array8 = (samples != 0).astype(np.uint8)
    if data.ignore_index is not None and raw.samples.ndim == 2:
        mask[samples == data.ignore_index] = VOID
    return mask


def _grey_of_palette(raw: RawMask) -> Samples:
    """Grey values where a palette's used colours are grey, as viewers show them; else indices."""
    if raw.palette is None:
        return raw.samples
    used = raw.palette[np.flatnonzero(value_counts(raw.samples))]
    if (used == used[:, :1]).all():
        return np.asarray(raw.palette[:, 0][raw.samples])
    return raw.samples


def _void(grey: Samples, lossless: bool, ignore_index: int | None) -> NDArray[np.bool_]:
    if ignore_index is None:
        return np.zeros(grey.shape, bool)
    near = 0 if lossless else _NEAR
    return np.asarray((grey >= ignore_index - near) & (grey <= ignore_index + near))


def _by_index(raw: RawMask, data: StudyDataConfig, path: Path) -> Array8:
    if raw.samples.ndim == 3:
        raise _undeclared(raw, distinct_colours(raw.samples), data, path, colours=True)
    if not raw.lossless:
        raise DataError(
            f"{path}: a lossy file cannot hold class indices; save masks as PNG, or say in "
            "data.values which grey value is which class"
        )
    table = {index: index for index in range(len(data.classes))}
    if data.ignore_index is not None:
        table[data.ignore_index] = VOID
    return _looked_up(raw.samples, table, data, path)


def _by_values(raw: RawMask, data: StudyDataConfig, values: dict[str, str], path: Path) -> Array8:
    meaning = {name: index for index, name in enumerate(data.classes)} | {IGNORE: VOID}
    if any(key.startswith("#") for key in values):
        colours = {int(key[1:], 16): meaning[name] for key, name in values.items()}
        return _by_colour(raw, colours, data, path)
    if raw.samples.ndim == 3:
        raise DataError(
            f"{path}: has the colours {shown(distinct_colours(raw.samples), colours=True)}, but "
            "data.values has grey values; declare colours such as '#ff8000', or save it as grey"
        )
    table = {} if data.ignore_index is None else {data.ignore_index: VOID}
    table |= {int(key): meaning[name] for key, name in values.items()}
    if raw.lossless:
        return _looked_up(raw.samples, table, data, path)
    return _nearest_grey(raw.samples, table, data, path)


def _looked_up(
    samples: Samples, table: dict[int, int], data: StudyDataConfig, path: Path
) -> Array8:
    stored = np.flatnonzero(value_counts(samples))
    unknown = stored[~np.isin(stored, list(table))]
    if unknown.size:
        raise _unknown(unknown, data, path, colours=False)
    lookup = np.zeros(1 << 16, np.uint8)
    for value, index in table.items():
        lookup[value] = index
    return np.asarray(lookup[samples])


def _nearest_grey(
    samples: Samples, table: dict[int, int], data: StudyDataConfig, path: Path
) -> Array8:
    declared = np.array(sorted(table))
    distance = np.abs(np.arange(np.iinfo(samples.dtype).max + 1)[:, None] - declared)
    nearest = distance.argmin(axis=1).astype(np.uint16)
    far = (distance.min(axis=1) > _NEAR)[samples]
    if far.any():
        far &= ~near_edge(nearest[samples])
    if far.any():
        raise _unknown(np.unique(samples[far]), data, path, colours=False)
    return np.asarray(
        np.array([table[int(value)] for value in declared], np.uint8)[nearest][samples]
    )


def _by_colour(raw: RawMask, table: dict[int, int], data: StudyDataConfig, path: Path) -> Array8:
    colours = _as_colours(raw, path)
    which = np.empty(colours.shape[:2], np.uint16)
    far = np.empty(colours.shape[:2], bool)
    declared = np.array(sorted(table), np.int32)
    find = _exact_colour if raw.lossless else _nearest_colour
    for rows in row_blocks(colours):
        which[rows], far[rows] = find(colours[rows], declared)
    if not raw.lossless and far.any():
        far &= ~near_edge(which)
    if far.any():
        raise _unknown(distinct_colours(colours[far][None]), data, path, colours=True)
    classes = np.array([table[int(code)] for code in declared], np.uint8)
    return np.asarray(classes[which])


def _exact_colour(colours: Samples, declared: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """The index of each pixel's colour, and whether it is none of them."""
    codes = colour_codes(colours)
    which = np.minimum(np.searchsorted(declared, codes), len(declared) - 1)
    return which, np.asarray(declared[which] != codes)


def _nearest_colour(colours: Samples, declared: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """The index of the nearest colour, and whether it is too far to be meant."""
    which = np.zeros(colours.shape[:2], np.uint16)
    best = np.full(colours.shape[:2], np.iinfo(np.int32).max, np.int32)
    for index, code in enumerate(declared):
        colour = np.array([code >> 16, code >> 8 & 255, code & 255], np.int32)
        distance = ((colours.astype(np.int32) - colour) ** 2).sum(axis=2, dtype=np.int32)
        nearer = distance < best
        which[nearer], best[nearer] = index, distance[nearer]
    return which, np.asarray(best > _NEAR_COLOUR**2)


def _as_colours(raw: RawMask, path: Path) -> Samples:
    if raw.palette is not None:
        return np.asarray(raw.palette[raw.samples])
    if raw.samples.dtype != np.uint8:
        raise DataError(f"{path}: 16 bits a sample, but data.values has colours of 8; save it so")
    return np.dstack([raw.samples] * 3) if raw.samples.ndim == 2 else raw.samples


def _undeclared(
    raw: RawMask, values: Numbers, data: StudyDataConfig, path: Path, *, colours: bool
) -> DataError:
    listed = shown(values, colours=colours)
    if data.task == "multilabel":
        return DataError(
            f"{path}: values {listed} are not two-valued; a multilabel mask has 0 and 255, or 0 "
            "and 1"
        )
    if data.task == "binary" and numbers_objects(raw):
        return DataError(
            f"{path}: values {listed} are not two-valued; say data.values: nonzero in study.yaml "
            "if they are instance ids (numbers of objects), or use the block that harness data "
            "inspect proposes if they are classes"
        )
    wrong = "are colours" if data.task == "multiclass" else "are not two-valued"
    if not raw.lossless and not colours:
        values = peaks(raw.samples)  # what was saved, without what the codec made of it
    if len(values) > MOST_IN_EXAMPLE:
        return DataError(
            f"{path}: values {listed} {wrong}; say what they mean in study.yaml, with the block "
            "that harness data inspect proposes"
        )
    example = example_values(written(values, colours=colours), data)
    return DataError(
        f"{path}: values {listed} {wrong}; say what they mean in study.yaml, e.g. data.values: "
        f"{example}"
    )


def _unknown(values: Numbers, data: StudyDataConfig, path: Path, *, colours: bool) -> DataError:
    listed = shown(values, colours=colours)
    if data.values is None:
        alone = len(values) == 1 and values[0] <= VOID and data.ignore_index is None
        remedy = (
            f"list all in data.classes, or set data.ignore_index: {values[0]}"
            if alone
            else "list all in data.classes, or say in data.values what each value means"
        )
        last = len(data.classes) - 1
        return DataError(f"{path}: values {listed} are no class (0 to {last}); {remedy}")
    key = written(values[:1], colours=colours)[0]
    return DataError(
        f"{path}: values {listed} are not in data.values; add them, e.g. '{key}': {IGNORE}"
    )
