"""What a study's device time went into: what pruning spared, and what each hour bought."""

import math
from dataclasses import dataclass

from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import count, duration

LAST = 10  # finished trials whose price and gain are told


@dataclass(frozen=True)
class Savings:
    """Epochs and seconds of a study's own trials, and those that pruning spared.

    Attributes:
        epochs: trained, by state of the trial.
        seconds: of those epochs, training and validation, by state.
        n_pruned: pruned trials.
        epochs_saved: planned epochs that the pruned trials did not train.
        seconds_saved: those epochs at the median seconds of each trial's own epochs.
    """

    epochs: dict[str, int]
    seconds: dict[str, float]
    n_pruned: int
    epochs_saved: int
    seconds_saved: float

    @property
    def sentence(self) -> str:
        """What the pruner saved, in words."""
        trained, seconds = sum(self.epochs.values()), math.fsum(self.seconds.values())
        if not self.n_pruned:
            return "No trial was pruned, so pruning saved nothing."
        return (
            f"Pruning {count(self.n_pruned, 'trial')} spared {count(self.epochs_saved, 'epoch')} "
            f"({_percent(self.epochs_saved, trained)}) and about {duration(self.seconds_saved)} "
            f"({_percent(self.seconds_saved, seconds)}) of what all trials to their last planned "
            "epoch would have taken."
        )


@dataclass(frozen=True)
class Spent:
    """A finished trial of the study itself and all device time up to its end.

    Attributes:
        seconds: of its own epochs.
        total: of all trials that had ended before it, and of itself.
        best: the best complete value so far; None before there is one.
    """

    number: int
    state: str
    value: float | None
    seconds: float
    total: float
    best: float | None


def savings(tables: StudyTables) -> Savings | None:
    """The account; None where no epoch of the study's own was recorded with its seconds."""
    own = {record.number: record for record in tables.records if record.imported is None}
    if "seconds" not in tables.epochs.columns:
        return None
    logged = tables.epochs[tables.epochs["number"].isin(list(own))]
    timed = logged.groupby("number")["seconds"].agg(["count", "sum", "median"])
    states = [own[int(str(number))].state for number in timed.index]
    by_state = timed.groupby(states)[["count", "sum"]].sum()
    pruned = [record for record in own.values() if record.state == "pruned"]
    done = tables.trials.set_index("number")["epochs_done"].to_dict()
    left = {record.number: max(record.epochs - done[record.number], 0) for record in pruned}
    medians = timed["median"].to_dict()
    return Savings(
        epochs={str(state): int(n) for state, n in by_state["count"].items()},
        seconds={str(state): float(s) for state, s in by_state["sum"].items()},
        n_pruned=len(pruned),
        epochs_saved=sum(left.values()),
        seconds_saved=math.fsum(n * medians.get(number, 0.0) for number, n in left.items()),
    )


def spending(tables: StudyTables) -> list[Spent]:
    """The study's own finished trials in the order in which they ended; [] without times.

    Only complete trials move the best. Imported trials cost this study nothing and are left out.
    """
    if "seconds" not in tables.epochs.columns:
        return []
    seconds = tables.epochs.groupby("number")["seconds"].sum().to_dict()
    ranked = {record.number for record in ranked_records(tables)}
    ended = [r for r in tables.records if r.imported is None and r.state != "running"]
    rows: list[Spent] = []
    total, best = 0.0, None
    better = min if tables.minimized else max
    for record in sorted(ended, key=lambda r: (r.ended is None, r.ended or "", r.number)):
        own = float(seconds.get(record.number, 0.0))
        total += own
        if record.number in ranked and record.value is not None:
            best = record.value if best is None else better(best, record.value)
        rows.append(Spent(record.number, record.state, record.value, own, total, best))
    return rows


def last_trials(rows: list[Spent], n: int = LAST) -> str:
    """What the last `n` trials cost and by how much they improved the best value."""
    if len(rows) <= n:
        return (
            f"What the last {count(n, 'trial')} bought can be told from {n + 1} finished trials on."
        )
    before, after, cost = rows[-n - 1].best, rows[-1].best, rows[-1].total - rows[-n - 1].total
    price = (
        f"The last {count(n, 'finished trial')} took {duration(cost)} "
        f"({_percent(cost, rows[-1].total - cost)} of the device time)"
    )
    if before is None or after is None:
        return f"{price}; before them no trial was complete."
    if before == after:
        return f"{price} and did not improve on the best value, {before:.4f}."
    finder = next(row.number for row in rows if row.best == after)
    return (
        f"{price} and improved the best value by {abs(after - before):.4f}, from {before:.4f} to "
        f"{after:.4f} (trial {finder})."
    )


def _percent(part: float, rest: float) -> str:
    return f"{part / (part + rest):.0%}" if part + rest > 0 else "0%"
