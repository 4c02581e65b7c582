"""Convert the values of a mask into class indices by the `data` block of study.yaml."""

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, IGNORE_LABEL, NONZERO, StudyDataConfig
from harness.core.errors import DataError
from harness.data.files.decode import RawMask, Samples
from harness.data.files.mask_values import (
    DARKEST,
    MASK_THRESHOLD,
    MAX_IN_EXAMPLE,
    Array8,
    Numbers,
    colour_codes,
    distinct_colours,
    example_values,
    format_values,
    has_grey_areas,
    has_instance_ids,
    has_small_numbers,
    near_edge,
    row_blocks,
    value_counts,
    value_keys,
    value_peaks,
)

# Largest change of a value inside an area by lossy compression: Kvasir-SEG masks hold 0..8.
_NEAR = 8
_NEAR_COLOUR = 64  # the same for colours, as a distance in RGB: chroma is stored more coarsely


@dataclass(frozen=True, eq=False)
class MaskBand:
    """Facts about the rows of a mask that is not in memory entirely.

    Attributes:
        stored: values in all of the mask; None for colours.
        rows: rows that count; the others, EDGE_REACH above and below, are their surroundings.
    """

    stored: Numbers | None
    rows: slice


def to_classes(
    raw: RawMask, data: StudyDataConfig, path: PurePath, band: MaskBand | None = None
) -> Array8:
    """Class indices (H, W), IGNORE_INDEX where ignored; 0 and 1 for one plane of a multilabel task.

    Args:
        raw: samples of the mask, or those of a band of its rows.
        band: facts about the band; None: `raw` is all of the mask.

    Raises:
        DataError: a value without a known meaning.
    """
    if data.values == NONZERO:
        return _from_instances(raw, data, path)
    if isinstance(data.values, dict):
        return _from_values(raw, data, data.values, path)
    if data.task == "multiclass":
        return _from_indices(raw, data, path)
    return _two_valued(raw, data, path, band or MaskBand(None, slice(None)))


def _two_valued(raw: RawMask, data: StudyDataConfig, path: PurePath, band: MaskBand) -> Array8:
    grey, stored = _palette_to_grey(raw, band.stored)
    if grey.ndim == 3:
        raise _undeclared_error(raw, distinct_colours(grey), data, path, colours=True)
    ignore_index = None if data.task == "multilabel" else data.ignore_index
    void = _ignored_pixels(grey, raw.lossless, ignore_index)
    counted = np.where(void, grey.dtype.type(0), grey) if void.any() else grey
    top, has_middle = int(counted.max()), False
    if stored is not None:
        stored = stored[~_ignored_pixels(stored, raw.lossless, ignore_index)]
        top = int(stored.max(initial=0))
        has_middle = bool(((stored > DARKEST) & (stored < 255)).any())
    exact = raw.lossless and top <= 1
    mask = counted.astype(np.uint8) if exact else (counted > MASK_THRESHOLD).astype(np.uint8)
    if void.any():
        mask[void] = IGNORE_INDEX
    classes = raw.lossless and (
        top <= DARKEST or (not has_middle and has_small_numbers(counted, band.rows))
    )
    areas = has_grey_areas(counted, mask, lossless=raw.lossless, rows=band.rows)
    if not exact and (top > 255 or classes or areas):
        raise _undeclared_error(raw, np.flatnonzero(value_counts(grey)), data, path, colours=False)
    return mask


def _from_instances(raw: RawMask, data: StudyDataConfig, path: PurePath) -> Array8:
    """Foreground of a mask of object numbers in grey, palette or colours: every value but 0."""
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
        mask[samples == data.ignore_index] = IGNORE_INDEX
    return mask


def _palette_to_grey(raw: RawMask, stored: Numbers | None) -> tuple[Samples, Numbers | None]:
    """Grey values if all used palette colours are grey, as in a viewer; otherwise indices."""
    if raw.palette is None:
        return raw.samples, stored
    used = np.flatnonzero(value_counts(raw.samples)) if stored is None else stored
    if (raw.palette[used] == raw.palette[used][:, :1]).all():
        greys = raw.palette[:, 0]
        return np.asarray(greys[raw.samples]), None if stored is None else greys[used]
    return raw.samples, stored


def _ignored_pixels(grey: Samples, lossless: bool, ignore_index: int | None) -> NDArray[np.bool_]:
    if ignore_index is None:
        return np.zeros(grey.shape, bool)
    near = 0 if lossless else _NEAR
    return np.asarray((grey >= ignore_index - near) & (grey <= ignore_index + near))


def _from_indices(raw: RawMask, data: StudyDataConfig, path: PurePath) -> Array8:
    if raw.samples.ndim == 3:
        raise _undeclared_error(raw, distinct_colours(raw.samples), data, path, colours=True)
    if not raw.lossless:
        raise DataError(
            f"{path}: a lossy file cannot hold class indices; save masks as PNG, or say in "
            "data.values which grey value is which class"
        )
    table = {index: index for index in range(len(data.classes))}
    if data.ignore_index is not None:
        table[data.ignore_index] = IGNORE_INDEX
    return _apply_table(raw.samples, table, data, path)


def _from_values(
    raw: RawMask, data: StudyDataConfig, values: dict[str, str], path: PurePath
) -> Array8:
    meaning = {name: index for index, name in enumerate(data.classes)} | {
        IGNORE_LABEL: IGNORE_INDEX
    }
    if any(key.startswith("#") for key in values):
        colours = {int(key[1:], 16): meaning[name] for key, name in values.items()}
        return _from_colours(raw, colours, data, path)
    if raw.samples.ndim == 3:
        raise DataError(
            f"{path}: has the colours "
            f"{format_values(distinct_colours(raw.samples), colours=True)}, but "
            "data.values declares grey values; declare colours such as '#ff8000', "
            "or save it as grey"
        )
    table = {} if data.ignore_index is None else {data.ignore_index: IGNORE_INDEX}
    table |= {int(key): meaning[name] for key, name in values.items()}
    if raw.lossless:
        return _apply_table(raw.samples, table, data, path)
    return _nearest_grey(raw.samples, table, data, path)


def _apply_table(
    samples: Samples, table: dict[int, int], data: StudyDataConfig, path: PurePath
) -> Array8:
    stored = np.flatnonzero(value_counts(samples))
    unknown = stored[~np.isin(stored, list(table))]
    if unknown.size:
        raise _unknown_error(unknown, data, path, colours=False)
    # One lookup table is faster than a comparison for each class, whatever their number.
    # 65536 entries, so that samples of 16 bits index it without a check of their type.
    lookup = np.zeros(1 << 16, np.uint8)
    for value, index in table.items():
        lookup[value] = index
    return np.asarray(lookup[samples])


def _nearest_grey(
    samples: Samples, table: dict[int, int], data: StudyDataConfig, path: PurePath
) -> Array8:
    declared = np.array(sorted(table))
    # Distances are computed once for each possible value, not for each pixel. With ties argmin
    # takes the smaller declared value.
    distance = np.abs(np.arange(np.iinfo(samples.dtype).max + 1)[:, None] - declared)
    nearest = distance.argmin(axis=1).astype(np.uint16)
    far = (distance.min(axis=1) > _NEAR)[samples]
    if far.any():
        far &= ~near_edge(nearest[samples])
    if far.any():
        raise _unknown_error(np.unique(samples[far]), data, path, colours=False)
    return np.asarray(
        np.array([table[int(value)] for value in declared], np.uint8)[nearest][samples]
    )


def _from_colours(
    raw: RawMask, table: dict[int, int], data: StudyDataConfig, path: PurePath
) -> Array8:
    colours = _as_colours(raw, path)
    colour_index = np.empty(colours.shape[:2], np.uint16)
    far = np.empty(colours.shape[:2], bool)
    declared = np.array(sorted(table), np.int32)
    find = _match_exact_colour if raw.lossless else _match_nearest_colour
    for rows in row_blocks(colours):
        colour_index[rows], far[rows] = find(colours[rows], declared)
    if not raw.lossless and far.any():
        far &= ~near_edge(colour_index)
    if far.any():
        raise _unknown_error(distinct_colours(colours[far][None]), data, path, colours=True)
    classes = np.array([table[int(code)] for code in declared], np.uint8)
    return np.asarray(classes[colour_index])


def _match_exact_colour(colours: Samples, declared: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """Index of each pixel's colour, and True where the colour is not declared."""
    codes = colour_codes(colours)
    # searchsorted returns len(declared) for codes above the last one, hence the minimum; the
    # comparison below then finds them undeclared.
    colour_index = np.minimum(np.searchsorted(declared, codes), len(declared) - 1)
    return colour_index, np.asarray(declared[colour_index] != codes)


def _match_nearest_colour(colours: Samples, declared: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """Index of the nearest declared colour, and True where it is too far away to match."""
    colour_index = np.zeros(colours.shape[:2], np.uint16)
    best = np.full(colours.shape[:2], np.iinfo(np.int32).max, np.int32)
    for index, code in enumerate(declared):
        colour = np.array([code >> 16, code >> 8 & 255, code & 255], np.int32)
        # int32: differences of uint8 wrap around, and squares reach 3 x 255^2.
        distance = ((colours.astype(np.int32) - colour) ** 2).sum(axis=2, dtype=np.int32)
        nearer = distance < best
        colour_index[nearer], best[nearer] = index, distance[nearer]
    return colour_index, np.asarray(best > _NEAR_COLOUR**2)


def _as_colours(raw: RawMask, path: PurePath) -> Samples:
    if raw.palette is not None:
        return np.asarray(raw.palette[raw.samples])
    if raw.samples.dtype != np.uint8:
        raise DataError(
            f"{path}: 16 bits a sample, but data.values declares 8-bit colours; save it with 8"
        )
    return np.dstack([raw.samples] * 3) if raw.samples.ndim == 2 else raw.samples


def _undeclared_error(
    raw: RawMask, values: Numbers, data: StudyDataConfig, path: PurePath, *, colours: bool
) -> DataError:
    listed = format_values(values, colours=colours)
    if data.task == "multilabel":
        return DataError(
            f"{path}: values {listed} are not two-valued; a multilabel mask has 0 and 255, or 0 "
            "and 1"
        )
    if data.task == "binary" and has_instance_ids(raw):
        return DataError(
            f"{path}: values {listed} are not two-valued; say data.values: nonzero in study.yaml "
            "if they are instance ids (numbers of objects), or use the block that harness data "
            "inspect proposes if they are classes"
        )
    wrong = "are colours" if data.task == "multiclass" else "are not two-valued"
    if not raw.lossless and not colours:
        values = value_peaks(raw.samples)  # the saved values, without those that the codec added
    problem = f"{path}: values {listed} {wrong}; say what they mean in study.yaml,"
    if len(values) > MAX_IN_EXAMPLE:
        return DataError(f"{problem} with the block that harness data inspect proposes")
    example = example_values(value_keys(values, colours=colours), data)
    return DataError(f"{problem} e.g. data.values: {example}")


def _unknown_error(
    values: Numbers, data: StudyDataConfig, path: PurePath, *, colours: bool
) -> DataError:
    listed = format_values(values, colours=colours)
    if data.values is None:
        single = len(values) == 1 and values[0] <= IGNORE_INDEX and data.ignore_index is None
        remedy = (
            f"list all in data.classes, or set data.ignore_index: {values[0]}"
            if single
            else "list all in data.classes, or say in data.values what each value means"
        )
        last = len(data.classes) - 1
        return DataError(f"{path}: values {listed} are no class (0 to {last}); {remedy}")
    key = value_keys(values[:1], colours=colours)[0]
    return DataError(
        f"{path}: values {listed} are not in data.values; add them, e.g. '{key}': {IGNORE_LABEL}"
    )
