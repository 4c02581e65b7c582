"""Device time of a study: what pruning saved, and the improvement per time spent."""

import math
from dataclasses import dataclass

from harness.core.records import TrialRecord
from harness.core.text import count, format_duration
from harness.report.tables.study_tables import StudyTables, ranked_records

N_LAST_TRIALS = 10  # latest finished trials whose cost and gain are reported


@dataclass(frozen=True)
class PruningSavings:
    """Epochs and seconds of a study's own trials, and those that pruning saved.

    Attributes:
        epochs: trained epochs by state of the trial.
        seconds: training and validation time of those epochs, by state.
        n_pruned: number of pruned trials.
        epochs_saved: planned epochs that the pruned trials did not train.
        seconds_saved: estimate: each trial's saved epochs times the median seconds of its epochs.
    """

    epochs: dict[str, int]
    seconds: dict[str, float]
    n_pruned: int
    epochs_saved: int
    seconds_saved: float

    @property
    def sentence(self) -> str:
        """The savings of the pruner in words."""
        trained, seconds = sum(self.epochs.values()), math.fsum(self.seconds.values())
        if not self.n_pruned:
            return "No trial was pruned, so pruning saved nothing."
        return (
            f"Pruning {count(self.n_pruned, 'trial')} saved {count(self.epochs_saved, 'epoch')} "
            f"({_percent(self.epochs_saved, trained)}) and about "
            f"{format_duration(self.seconds_saved)} "
            f"({_percent(self.seconds_saved, seconds)}) of the cost of training all trials to "
            "their last planned epoch."
        )


@dataclass(frozen=True)
class TrialSpending:
    """A finished trial of the study itself, with the device time up to its end.

    Attributes:
        seconds: time of its own epochs.
        cumulative_seconds: time of all trials that ended before it, and its own.
        best: the best complete value so far; None before there is one.
    """

    number: int
    state: str
    value: float | None
    seconds: float
    cumulative_seconds: float
    best: float | None


def measure_savings(tables: StudyTables) -> PruningSavings | None:
    """Savings of the study; None if none of its own epochs was recorded with its seconds."""
    # Imported trials were paid for by the study that trained them.
    own_records = {record.number: record for record in tables.records if record.imported is None}
    # Without any epoch the table has only the columns number and epoch.
    if "seconds" not in tables.epochs.columns:
        return None
    logged = tables.epochs[tables.epochs["number"].isin(list(own_records))]
    epoch_times = logged.groupby("number")["seconds"].agg(["count", "sum", "median"])
    states = [own_records[int(str(number))].state for number in epoch_times.index]
    by_state = epoch_times.groupby(states)[["count", "sum"]].sum()
    pruned = [record for record in own_records.values() if record.state == "pruned"]
    epochs_done = tables.trials.set_index("number")["epochs_done"].to_dict()
    epochs_left = {r.number: max(r.epochs - epochs_done[r.number], 0) for r in pruned}
    # The median: the first epoch takes longer, as it also starts the loaders.
    medians = epoch_times["median"].to_dict()
    return PruningSavings(
        epochs={str(state): int(n) for state, n in by_state["count"].items()},
        seconds={str(state): float(s) for state, s in by_state["sum"].items()},
        n_pruned=len(pruned),
        epochs_saved=sum(epochs_left.values()),
        seconds_saved=math.fsum(n * medians.get(number, 0.0) for number, n in epochs_left.items()),
    )


def trial_spendings(tables: StudyTables) -> list[TrialSpending]:
    """The study's own finished trials in order of their end; [] if no times were recorded.

    Only complete trials change the best value. Imported trials cost this study nothing and are
    left out.
    """
    if "seconds" not in tables.epochs.columns:
        return []
    seconds = tables.epochs.groupby("number")["seconds"].sum().to_dict()
    ranked = {record.number for record in ranked_records(tables)}
    rows: list[TrialSpending] = []
    total, best = 0.0, None
    objective = tables.config.objective
    for record in _own_finished_records(tables):
        own_seconds = float(seconds.get(record.number, 0.0))
        total += own_seconds
        if record.number in ranked and record.value is not None:
            improves = best is None or objective.better(record.value, best)
            best = record.value if improves else best
        rows.append(
            TrialSpending(record.number, record.state, record.value, own_seconds, total, best)
        )
    return rows


def _own_finished_records(tables: StudyTables) -> list[TrialRecord]:
    finished = [r for r in tables.records if r.imported is None and r.state != "running"]
    # In order of end, not of number: simultaneous trials end in another order than they began. ISO
    # 8601 in UTC sorts as text; records without an end come last.
    return sorted(finished, key=lambda r: (r.ended is None, r.ended or "", r.number))


def last_trials_sentence(rows: list[TrialSpending], n: int = N_LAST_TRIALS) -> str:
    """Describe the cost of the last `n` trials and their improvement of the best value."""
    if len(rows) <= n:
        return (
            f"The gain of the last {count(n, 'trial')} is reported from {n + 1} finished trials on."
        )
    before, after, total = rows[-n - 1].best, rows[-1].best, rows[-1].cumulative_seconds
    cost = total - rows[-n - 1].cumulative_seconds
    cost_text = (
        f"The last {count(n, 'finished trial')} took {format_duration(cost)} "
        f"({_percent(cost, total - cost)} of the device time)"
    )
    if before is None or after is None:
        return f"{cost_text}; before them no trial was complete."
    if before == after:
        return f"{cost_text} and did not improve on the best value, {before:.4f}."
    # Exact comparison of floats is safe here: `after` is one of these very values.
    finder = next(row.number for row in rows if row.best == after)
    return (
        f"{cost_text} and improved the best value by {abs(after - before):.4f}, from {before:.4f} "
        f"to {after:.4f} (trial {finder})."
    )


def _percent(part: float, rest: float) -> str:
    return f"{part / (part + rest):.0%}" if part + rest > 0 else "0%"
