"""Which pairs of a dataset show the same picture."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from harness.data.copies import group_copies
from harness.data.look import Look


class Twins(NamedTuple):
    """Two looks, by index, `one` before `other`; exact: every pixel of the images is equal."""

    one: int
    other: int
    kind: Literal["exact", "near"]


def find_twins(looks: Sequence[Look]) -> list[Twins]:
    """Each picture that was stored again, with the first of equal pixels, else of that scene."""
    leaders = group_copies([look.pixels for look in looks], [look.thumbnail for look in looks])
    first: dict[str, int] = {}
    twins = []
    for index, (look, leader) in enumerate(zip(looks, leaders, strict=True)):
        equal = first.setdefault(look.pixels, index)
        if equal != index:
            twins.append(Twins(equal, index, "exact"))
        elif leader != index:
            twins.append(Twins(leader, index, "near"))
    return twins
