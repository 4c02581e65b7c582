"""Propose the `data:` block of study.yaml from the content of the files."""

import itertools
from collections.abc import Sequence
from typing import Any

from harness.config.data import IGNORE_INDEX, IGNORE_LABEL, NONZERO, StudyDataConfig
from harness.core import strict_yaml
from harness.data.files.headers import ImageFileInfo
from harness.data.files.mask_values import MaskValues, merge_values
from harness.data.scan.scan import DatasetScan

# Two-class masks that need no table of values, also if every one of them is empty or full.
_STANDARD_VALUES = ({"0"}, {"1"}, {"255"}, {"0", "1"}, {"0", "255"})
_MIN_INSTANCE_SHARE = 0.9  # share of the masks with several values: some objects have two parts
_MAX_AMBIGUOUS = 4  # number of values, background included, that is too small for a decision
_MIN_STEPS = 3  # different numbers of objects that distinguish counting from a rare class
_DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners use


def propose_data_config(scan: DatasetScan, *, declared: bool = False) -> StudyDataConfig:
    """Propose the settings that fit the files best; class names stay if their number fits.

    Args:
        declared: True if a study declares the values; its settings stay while most pairs fit.

    Settings that the files do not determine stay: the root, eval_size, and the task if masks hold
    neither few values nor few colours.
    """
    # The author of a study knows its classes better than the files show: some may not occur.
    if declared and len(scan.pair_stats) > len(scan.bad_pairs):
        return scan.dataset.data
    # Bad pairs count too: often all are bad, because the present settings do not fit the files.
    stored = [stats.seen.stored for stats in scan.pair_stats]
    stored += [bad.stored for bad in scan.bad_pairs if bad.stored is not None]
    values = [stats.seen.mask for stats in scan.pair_stats]
    values += [bad.values for bad in scan.bad_pairs if bad.values is not None]
    data = scan.dataset.data
    pairs = [*scan.dataset.pairs, *(bad.pair for bad in scan.bad_pairs)]
    n_masks = max((len(pair.masks) for pair in pairs), default=1)
    proposed = {**_propose_classes(values, n_masks, data), **_propose_samples(stored, scan)}
    return StudyDataConfig.model_validate({**data.model_dump(), **proposed})


def as_yaml(data: StudyDataConfig) -> str:
    """Format the block for study.yaml."""
    return strict_yaml.dump_yaml({"data": data.model_dump(mode="json")})


def _propose_classes(
    values: Sequence[MaskValues], n_masks: int, data: StudyDataConfig
) -> dict[str, Any]:
    # Several files for one image are planes of classes: one pixel may belong to more than one.
    if n_masks > 1:
        named = _class_names(n_masks, data, data.task == "multilabel")
        return {"task": "multilabel", "classes": named, "values": None, "ignore_index": None}
    # Before values are read as classes: otherwise each object number would become a class.
    if has_instance_masks(values):
        named = _class_names(2, data, data.task == "binary")
        return {"task": "binary", "classes": named, "values": NONZERO, "ignore_index": None}
    merged = merge_values(values)
    if not values or merged.kind == "grey":
        return {}
    if merged.kind == "noisy" or set(merged.values) in _STANDARD_VALUES:
        named = _class_names(2, data, data.task == "binary")
        return {"task": "binary", "classes": named, "values": None, "ignore_index": None}
    if merged.kind == "colours":
        return _propose_table(merged.values, data)
    return _propose_indices([int(value) for value in merged.values], data)


def has_instance_masks(values: Sequence[MaskValues]) -> bool:
    """True if masks hold object numbers: each value is connected, and values differ by mask.

    Classes recur: all masks together hold hardly more values than one mask. Object numbers do not
    recur, or they count the objects: a mask then holds the values of every mask with fewer.
    """
    candidates = [
        item
        for item in values
        if item.numbered or len(item.values) > _MAX_AMBIGUOUS or item.kind == "grey"
    ]
    n_numbered = sum(item.numbered for item in candidates)
    if not n_numbered or n_numbered < _MIN_INSTANCE_SHARE * len(candidates):
        return False
    if any(item.kind == "grey" and item.numbered for item in candidates):
        return True  # more than 64 objects, whose values were not listed
    object_sets = [_object_values(item) for item in candidates if item.numbered]
    if len(set().union(*object_sets)) > 2 * max(len(item) for item in object_sets):
        return True
    return _values_accumulate(object_sets) or _values_accumulate(
        [_object_values(item) for item in values if _object_values(item)]
    )


def _object_values(mask_values: MaskValues) -> set[str]:
    """Values that are neither background nor IGNORE_INDEX."""
    return set(mask_values.values) - {"0", "#000000", str(IGNORE_INDEX)}


def _values_accumulate(value_sets: Sequence[set[str]]) -> bool:
    """True if each mask contains the values of all smaller ones, with three sizes or more.

    Two sizes may also come from classes of which one is rare.
    """
    rising = sorted(value_sets, key=len)
    nested = all(few <= more for few, more in itertools.pairwise(rising))
    return nested and len({len(value_set) for value_set in rising}) >= _MIN_STEPS


def _propose_indices(values: list[int], data: StudyDataConfig) -> dict[str, Any]:
    """Propose class indices for grey values from 0 without a gap, otherwise a table."""
    # Up to three values are left to `_propose_table`, which knows 0, 1 and 255.
    void = values[-1] if len(values) > 3 and values[-1] == IGNORE_INDEX else None
    classes = [value for value in values if value != void]
    if classes != list(range(len(classes))) or len(classes) < 3:
        return _propose_table([str(value) for value in values], data)
    named = _class_names(len(classes), data, data.task == "multiclass")
    return {"task": "multiclass", "classes": named, "values": None, "ignore_index": void}


def _propose_table(values: Sequence[str], data: StudyDataConfig) -> dict[str, Any]:
    """Propose a class for each value, in order; 255 next to 0 and 1 is ignored."""
    if list(values) == ["0", "1", "255"]:
        named = _class_names(2, data, data.task == "binary")
        table = dict(zip(values, (*named, IGNORE_LABEL), strict=True))
    else:
        named = _class_names(len(values), data, data.task != "multilabel")
        table = dict(zip(values, named, strict=True))
    if len(named) < 2:  # one value in all files: nothing can be told apart
        return {}
    task = "binary" if len(named) == 2 else "multiclass"
    return {"task": task, "classes": named, "values": table, "ignore_index": None}


def _class_names(n: int, data: StudyDataConfig, keep_names: bool) -> tuple[str, ...]:
    if keep_names and len(data.classes) == n:
        return data.classes
    if n == 2:
        return ("background", "foreground")
    return tuple(f"class {index}" for index in range(n))


def _propose_samples(stored: Sequence[ImageFileInfo], scan: DatasetScan) -> dict[str, Any]:
    """Propose channels and range; {} if headers do not determine them."""
    if not stored or any(info.mode == "other" for info in stored):
        return {}
    # One image in colour is enough for 3 channels: grey values can fill three without a loss.
    grey = all(info.mode in ("grey", "grey+alpha") for info in stored)
    settings: dict[str, Any] = {"channels": 1 if grey else 3}
    if all(info.bits > 8 for info in stored):
        # Cameras of 10, 12 or 14 bits store their values in 16: the largest value shows the depth,
        # unless every image is dark. A proposal, for the user to check.
        greatest = max((stats.seen.greatest for stats in scan.pair_stats), default=2**16 - 1)
        bits = next((depth for depth in _DEPTHS if greatest < 2**depth), 16)
        settings["range"] = (0.0, float(2**bits - 1))
    return settings
