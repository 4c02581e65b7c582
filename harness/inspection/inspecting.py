"""The whole result of inspecting a dataset: findings, statistics, a proposal."""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.data.copies import Copy
from harness.data.look import Look, Overview
from harness.data_config import NONZERO
from harness.inspection.findings import (
    INSTANCES,
    Finding,
    Severity,
    by_severity,
    find,
    is_empty,
    is_full,
)
from harness.inspection.proposal import as_yaml, propose


@dataclass(frozen=True)
class Share:
    """One class: its share of each picture's pixels, 0 to 1, and in how many it occurs."""

    name: str
    mean: float
    median: float
    least: float
    greatest: float
    n_images: int
    n_objects: int | None  # None for a background


@dataclass(frozen=True)
class Statistics:
    """Numbers of the pairs that can be used.

    Attributes:
        sizes: height, width and how many images have it, most frequent first.
        stored: e.g. `JPEG RGB 8 bit`, and how many images are stored so; likewise `mask_values`.
    """

    n_pairs: int
    n_bad: int
    sizes: tuple[tuple[int, int, int], ...]
    shares: tuple[Share, ...]
    stored: dict[str, int]
    mask_values: dict[str, int]
    n_empty: int
    n_full: int
    n_vanishing: int
    n_copies: int


@dataclass(frozen=True)
class Inspection:
    """What `harness data inspect` found. `proposal` is a `data:` block to paste."""

    name: str
    statistics: Statistics
    findings: tuple[Finding, ...]
    proposal: str
    read_as: str  # the block that the data was read with
    fits: bool  # whether the data was read with the proposal, and some pair can be used

    def count(self, severity: Severity) -> int:
        """The number of findings of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Plain values, tuples as lists."""
        return {"format": 1, **asdict(self)}


def inspect(
    overview: Overview,
    copies: Sequence[Copy],
    *,
    skip_bad: bool = False,
    declared: bool = False,
) -> Inspection:
    """Everything there is to say of a dataset that was looked at.

    Args:
        copies: what `copies_among` found among the overview's looks.
        skip_bad: pairs that cannot be used are left out on purpose.
        declared: a study says what the values mean: where the files fit, nothing else is proposed.
    """
    proposal = propose(overview, declared=declared)
    found = find(overview, copies, skip_bad=skip_bad)
    if proposal.values == NONZERO != overview.dataset.data.values:
        found = by_severity([*found, INSTANCES])
    return Inspection(
        name=overview.dataset.name,
        statistics=_statistics(overview, copies),
        findings=tuple(found),
        proposal=as_yaml(proposal),
        read_as=as_yaml(overview.dataset.data),
        fits=proposal == overview.dataset.data and bool(overview.looks),
    )


def _statistics(overview: Overview, copies: Sequence[Copy]) -> Statistics:
    looks, task = overview.looks, overview.dataset.data.task
    sizes = Counter(look.size for look in looks).most_common()
    return Statistics(
        n_pairs=len(looks),
        n_bad=len(overview.bad),
        sizes=tuple((height, width, n) for (height, width), n in sizes),
        shares=tuple(_shares(overview)) if looks else (),
        stored=_counted(looks, _storage),
        mask_values=_counted(looks, lambda look: look.seen.mask.kind),
        n_empty=sum(is_empty(look, task) for look in looks),
        n_full=sum(is_full(look, task) for look in looks),
        n_vanishing=sum(look.seen.n_vanishing for look in looks),
        n_copies=len(copies),
    )


def _shares(overview: Overview) -> list[Share]:
    data = overview.dataset.data
    shares = []
    for index, name in enumerate(data.classes):
        values = [look.shares[index] for look in overview.looks]
        scored = index in data.scored_classes
        place = data.scored_classes.index(index) if scored else 0
        n_objects = sum(look.seen.n_objects[place] for look in overview.looks) if scored else None
        shares.append(
            Share(
                name=name,
                mean=statistics.fmean(values),
                median=statistics.median(values),
                least=min(values),
                greatest=max(values),
                n_images=sum(value > 0 for value in values),
                n_objects=n_objects,
            )
        )
    return shares


def _storage(look: Look) -> str:
    stored = look.seen.stored
    return f"{stored.kind} {stored.mode} {stored.bits} bit"


def _counted(looks: Sequence[Look], of: Callable[[Look], str]) -> dict[str, int]:
    return dict(Counter(of(look) for look in looks).most_common())
