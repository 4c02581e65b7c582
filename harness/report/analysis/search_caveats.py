"""Caveats of the search's settings: number of epochs, parameter ranges, patience of the pruner."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from harness.config.study import TrialConfig
from harness.core.errors import ConfigError
from harness.core.records import TrialRecord
from harness.core.text import count, join_words, plural
from harness.report.analysis.noise import estimate_seed_noise
from harness.report.tables.study_tables import StudyTables, ranked_records, trials_in_state

TOP = 5  # best trials, of which most must lie at the edge, the best one among them
MIN_TRIALS = 6  # complete trials below which no edge is reported
EDGE_SHARE = 0.05  # outer share of a range, on its own scale, that counts as its edge
MIN_COMPLETE_TRIALS = 4  # complete trials below which the best epochs show no pattern
LAST_EPOCH_SHARE = 0.8  # share of trials whose best epoch is the last one
MAX_NAMED_TRIALS = 5


@dataclass(frozen=True)
class BoundaryOptimum:
    """A parameter whose best values lie at one end of its range.

    Attributes:
        key: full key of the parameter.
        bound: that end of the range.
        value: value in the best trial.
    """

    key: str
    side: Literal["lower", "upper"]
    bound: float
    value: float


@dataclass(frozen=True)
class PruningGap:
    """A pruned trial compared with the complete trials at its last epoch.

    Attributes:
        value: best value that it had reached.
        gap: distance of that value behind the best value of a complete trial up to that epoch;
            negative if it was ahead.
        share_beaten: share of the complete trials with a worse value up to that epoch, 0 to 1.
    """

    number: int
    epoch: int
    value: float
    gap: float
    share_beaten: float


def training_too_short(tables: StudyTables) -> str | None:
    """Caveat if the best epoch is nearly always the last one."""
    complete = trials_in_state(tables, "complete")
    # Trials that stopped early say nothing about longer training; with one epoch the best is last.
    complete = complete[complete["epochs_done"] >= complete["epochs_planned"]]
    complete = complete[complete["epochs_done"] > 1]
    if len(complete) < MIN_COMPLETE_TRIALS:
        return None
    n = int((complete["best_epoch"] == complete["epochs_done"]).sum())
    if n < LAST_EPOCH_SHARE * len(complete):
        return None
    return (
        f"The best epoch was the last one in {n} of {count(len(complete), 'complete trial')}: they "
        "had not finished learning, so the study compares their speed. Train longer (train.epochs)."
    )


def optimum_at_boundary(tables: StudyTables) -> str | None:
    """Caveat if the best trials lie at an edge of a parameter's range."""
    boundary_optima = find_boundary_optima(tables)
    if not boundary_optima:
        return None
    edges_text = join_words(
        [
            f"{edge.key} ({edge.side} end {edge.bound:.4g}; best {edge.value:.4g})"
            for edge in boundary_optima
        ]
    )
    return (
        f"The best trials lie at the edge of the range of {edges_text}: better values may lie "
        "beyond it. Widen the range in a new study (--from imports these trials)."
    )


def find_boundary_optima(tables: StudyTables) -> list[BoundaryOptimum]:
    """Numeric parameters with the best trial and most of the best five at one edge of the range.

    An end does not count if the setting itself allows no value beyond it, or if the range is only
    one step wide.
    """
    ranked = ranked_records(tables)
    if len(ranked) < MIN_TRIALS:
        return []
    optima = []
    for key in tables.parameters:
        sides = [_nearest_edge(record, key) for record in ranked[:TOP]]
        first = sides[0]
        # The best trial alone is a weak sign: 10 % of uniform draws lie at one of the two edges.
        if first is not None and sides.count(first) > TOP / 2:
            bound, value = _bounds(ranked[0], key)[first], float(ranked[0].params[key] or 0)
            if _can_extend_range(key, ranked[0], first):
                optima.append(BoundaryOptimum(key, first, bound, value))
    return optima


def _nearest_edge(record: TrialRecord, key: str) -> Literal["lower", "upper"] | None:
    """Edge at which a trial lies: in the outer twentieth of the range, on its own scale."""
    attributes, value = _attributes(record, key), record.params.get(key)
    if not attributes or isinstance(value, bool | str) or value is None:
        return None
    low, high, number = float(attributes["low"]), float(attributes["high"]), float(value)
    # On the scale of the search: the lowest 5 % of 1e-5 to 1e-2 on a linear scale would be 57 % of
    # the range in logarithms.
    if attributes.get("log"):
        low, high, number = math.log(low), math.log(high), math.log(number)
    # In a range of two integers every value is an end, so an edge says nothing.
    if not high > low or (isinstance(value, int) and high - low < 2 and not attributes.get("log")):
        return None
    position = (number - low) / (high - low)
    if position <= EDGE_SHARE:
        return "lower"
    return "upper" if position >= 1 - EDGE_SHARE else None


def _bounds(record: TrialRecord, key: str) -> dict[Literal["lower", "upper"], float]:
    attributes = _attributes(record, key)
    return {"lower": float(attributes["low"]), "upper": float(attributes["high"])}


def _attributes(record: TrialRecord, key: str) -> dict[str, Any]:
    """`low`, `high`, `log` of a numeric parameter; {} for others and if the trial lacks it."""
    attributes: dict[str, Any] = record.distributions.get(key, {}).get("attributes", {})
    return attributes if key in record.params and "low" in attributes else {}


def _can_extend_range(key: str, record: TrialRecord, side: Literal["lower", "upper"]) -> bool:
    """True if the trial configuration accepts a value slightly beyond that end."""
    low, high = _bounds(record, key).values()
    is_integer = isinstance(record.params[key], int)
    step = 1.0 if is_integer else (high - low) / 100
    beyond = low - step if side == "lower" else high + step
    if side == "lower" and _attributes(record, key).get("log"):
        beyond = max(1.0, low // 2) if is_integer else low / 2
    # A logarithmic range of integers that starts at 1 has nothing below it.
    if beyond in (low, high):
        return False
    try:
        # Asked of the configuration model itself, so that bounds are declared in one place only.
        TrialConfig.from_flat({key: int(beyond) if is_integer else beyond}, allow_unregistered=True)
    except ConfigError:
        return False
    return True


def pruned_within_noise(tables: StudyTables) -> str | None:
    """Caveat if the pruner stopped trials that were behind by less than the seed noise."""
    noise, all_gaps = estimate_seed_noise(tables), find_pruning_gaps(tables)
    if noise is None or not all_gaps:
        return None
    close_numbers = [
        pruned_gap.number for pruned_gap in all_gaps if pruned_gap.gap < noise.smallest_lead
    ]
    if not close_numbers:
        return None
    more = (
        [f"{len(close_numbers) - MAX_NAMED_TRIALS} more"]
        if len(close_numbers) > MAX_NAMED_TRIALS
        else []
    )
    named = join_words([*map(str, close_numbers[:MAX_NAMED_TRIALS]), *more])
    return (
        f"The pruner stopped {len(close_numbers)} of {count(len(all_gaps), 'pruned trial')} while "
        f"they were less than {noise.smallest_lead:.4f} behind the best at the same epoch, a "
        f"difference that seeds alone can cause (from {noise.source}): "
        f"{plural('trial', len(close_numbers))} {named}. Give the pruner more patience (a larger "
        "pruner.min_resource or pruner.warmup, or pruner: none)."
    )


def find_pruning_gaps(tables: StudyTables) -> list[PruningGap]:
    """Gaps of the pruned trials, in order of number; [] without a complete trial to compare with.

    Compared at the same epoch: final values would count the pruned trials' missing epochs.
    """
    complete = {record.number for record in ranked_records(tables)}
    epochs_done = tables.trials.set_index("number")["epochs_done"].to_dict()
    pruned_records = [record for record in tables.records if record.state == "pruned"]
    pruned = {record.number: int(epochs_done[record.number]) for record in pruned_records}
    sort_key = tables.config.objective.sort_key
    # Once per epoch and not per pruned trial: halving
    # stops nearly all of them at the same few epochs.
    best_at_epoch = {epoch: best_by_epoch(tables, epoch) for epoch in set(pruned.values())}
    gaps = []
    for number, epoch in pruned.items():
        values = best_at_epoch[epoch]
        others = [sort_key(value) for other, value in values.items() if other in complete]
        if number in values and others:
            key = sort_key(values[number])
            share_beaten = sum(other_key > key for other_key in others) / len(others)
            gaps.append(PruningGap(number, epoch, values[number], key - min(others), share_beaten))
    return gaps


def best_by_epoch(tables: StudyTables, epoch: int) -> dict[int, float]:
    """Best value of the objective of each trial up to that epoch, by number."""
    metric = tables.config.objective.metric
    if metric not in tables.epochs.columns:
        return {}
    early = tables.epochs[tables.epochs["epoch"] <= epoch].groupby("number")[metric]
    # The best value so far, as the pruner compares it, not the value at that epoch.
    reached = early.min() if tables.minimized else early.max()
    return {int(str(number)): float(value) for number, value in reached.dropna().items()}
