"""A `data:` block for study.yaml, from what the files hold."""

import itertools
from collections.abc import Sequence
from typing import Any

from harness import strict_yaml
from harness.data.look import Overview
from harness.data.mask_values import MaskValues, joined
from harness.data.stored import Stored
from harness.data_config import IGNORE, NONZERO, VOID, StudyDataConfig

_PLAIN = ({"0"}, {"1"}, {"255"}, {"0", "1"}, {"0", "255"})
_NUMBERED = 0.9  # share of the masks with several values: objects may lie in two pieces
_FEW = 4  # values, background included, of which nothing can be told
_LEAST_STEPS = 3  # different numbers of objects that tell counting from a class that is rare
_DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners use


def propose(overview: Overview, *, declared: bool = False) -> StudyDataConfig:
    """The meaning that fits the files best; class names are kept where their number fits.

    Args:
        declared: somebody has said what the values mean; that is believed while most pairs fit.

    What the files do not tell is taken over: the root, eval_size, and the task where masks hold
    neither few values nor few colours.
    """
    if declared and len(overview.looks) > len(overview.bad):
        return overview.dataset.data
    stored = [look.seen.stored for look in overview.looks]
    stored += [bad.stored for bad in overview.bad if bad.stored is not None]
    values = [look.seen.mask for look in overview.looks]
    values += [bad.values for bad in overview.bad if bad.values is not None]
    data = overview.dataset.data
    pairs = [*overview.dataset.pairs, *(bad.pair for bad in overview.bad)]
    several = max((len(pair.masks) for pair in pairs), default=1)
    found = {**_meaning(values, several, data), **_samples(stored, overview)}
    return StudyDataConfig.model_validate({**data.model_dump(), **found})


def as_yaml(data: StudyDataConfig) -> str:
    """The block as it is pasted into study.yaml."""
    return strict_yaml.dump({"data": data.model_dump(mode="json")})


def _meaning(values: Sequence[MaskValues], several: int, data: StudyDataConfig) -> dict[str, Any]:
    if several > 1:
        named = _names(several, data, data.task == "multilabel")
        return {"task": "multilabel", "classes": named, "values": None, "ignore_index": None}
    if numbered(values):
        named = _names(2, data, data.task == "binary")
        return {"task": "binary", "classes": named, "values": NONZERO, "ignore_index": None}
    together = joined(values)
    if not values or together.kind == "grey":
        return {}
    if together.kind == "noisy" or set(together.values) in _PLAIN:
        named = _names(2, data, data.task == "binary")
        return {"task": "binary", "classes": named, "values": None, "ignore_index": None}
    if together.kind == "colours":
        return _table(together.values, data)
    return _indices([int(value) for value in together.values], data)


def numbered(values: Sequence[MaskValues]) -> bool:
    """Whether masks hold numbers of objects: each value in one piece, and others in each mask.

    Classes recur: all masks together hold few more values than one. Numbers do not, or they count
    the objects: a mask holds the values of every mask with fewer.
    """
    judged = [one for one in values if one.numbered or len(one.values) > _FEW or one.kind == "grey"]
    n_numbered = sum(one.numbered for one in judged)
    if not n_numbered or n_numbered < _NUMBERED * len(judged):
        return False
    if any(one.kind == "grey" and one.numbered for one in judged):
        return True  # more than 64 of them
    held = [_objects(one) for one in judged if one.numbered]
    if len(set().union(*held)) > 2 * max(len(one) for one in held):
        return True
    return _count_up(held) or _count_up([_objects(one) for one in values if _objects(one)])


def _objects(one: MaskValues) -> set[str]:
    """The values that are neither background nor void."""
    return set(one.values) - {"0", "#000000", str(VOID)}


def _count_up(held: Sequence[set[str]]) -> bool:
    """Whether each mask adds values to those of the masks with fewer, in three steps or more.

    Two sets may be those of classes of which one is rare.
    """
    rising = sorted(held, key=len)
    nested = all(few <= more for few, more in itertools.pairwise(rising))
    return nested and len({len(one) for one in rising}) >= _LEAST_STEPS


def _indices(values: list[int], data: StudyDataConfig) -> dict[str, Any]:
    """Grey values: class indices where they begin at 0 without a gap, else a table."""
    void = values[-1] if len(values) > 3 and values[-1] == VOID else None
    classes = [value for value in values if value != void]
    if classes != list(range(len(classes))) or len(classes) < 3:
        return _table([str(value) for value in values], data)
    named = _names(len(classes), data, data.task == "multiclass")
    return {"task": "multiclass", "classes": named, "values": None, "ignore_index": void}


def _table(values: Sequence[str], data: StudyDataConfig) -> dict[str, Any]:
    """A class for each value, in order; a third value of 255 in a 0, 1 mask is ignored."""
    if list(values) == ["0", "1", "255"]:
        named = _names(2, data, data.task == "binary")
        table = dict(zip(values, (*named, IGNORE), strict=True))
    else:
        named = _names(len(values), data, data.task != "multilabel")
        table = dict(zip(values, named, strict=True))
    if len(named) < 2:  # one value in all files: nothing can be told apart
        return {}
    task = "binary" if len(named) == 2 else "multiclass"
    return {"task": task, "classes": named, "values": table, "ignore_index": None}


def _names(n: int, data: StudyDataConfig, known: bool) -> tuple[str, ...]:
    if known and len(data.classes) == n:
        return data.classes
    if n == 2:
        return ("background", "foreground")
    return tuple(f"class {index}" for index in range(n))


def _samples(stored: Sequence[Stored], overview: Overview) -> dict[str, Any]:
    """Channels and range; kept as they are where headers do not tell."""
    if not stored or any(one.mode == "other" for one in stored):
        return {}
    grey = all(one.mode in ("grey", "grey+alpha") for one in stored)
    found: dict[str, Any] = {"channels": 1 if grey else 3}
    if all(one.bits > 8 for one in stored):
        greatest = max((look.seen.greatest for look in overview.looks), default=2**16 - 1)
        bits = next((depth for depth in _DEPTHS if greatest < 2**depth), 16)
        found["range"] = (0.0, float(2**bits - 1))
    return found
