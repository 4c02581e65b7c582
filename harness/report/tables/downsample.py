"""Reduce the trials that the figures of a large study draw, so that the page stays usable."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from harness.core.text import count
from harness.report.tables.study_tables import StudyTables, ranked_records

N_BEST_TRIALS = 100  # complete trials that are always drawn
MAX_TRIALS = 600  # more trials make the page larger without making a figure clearer
MAX_CURVE_POINTS = 24_000  # points of one figure of curves


@dataclass(frozen=True)
class TrialSubset:
    """Trials that are drawn.

    Attributes:
        numbers: numbers of the trials.
        note: a sentence about what was left out; "" if nothing was.
    """

    numbers: Collection[int]
    note: str


def downsample_trials(tables: StudyTables, max_trials: int = MAX_TRIALS) -> TrialSubset:
    """All trials, or the best N_BEST_TRIALS complete ones and an even sample of the rest by number.

    Args:
        max_trials: total number of trials, at least N_BEST_TRIALS.
    """
    numbers = [record.number for record in tables.records]
    if len(numbers) <= max_trials:
        return TrialSubset(frozenset(numbers), "")
    best = [record.number for record in ranked_records(tables)[:N_BEST_TRIALS]]
    best_numbers = frozenset(best)
    rest = [number for number in numbers if number not in best_numbers]
    n = max_trials - len(best)
    # Even and without randomness: the same study always gives the same page.
    sample = [rest[i * len(rest) // n] for i in range(n)]
    note = (
        f"The figures show the best {count(len(best), 'complete trial')} and {n} of the other "
        f"{len(rest)}, sampled evenly by number; all are in trials.csv."
    )
    return TrialSubset(frozenset([*best, *sample]), note)


def downsample_curves(tables: StudyTables) -> TrialSubset:
    """Fewer trials for long curves: at most about MAX_CURVE_POINTS, but N_BEST_TRIALS trials."""
    longest = int(tables.trials["epochs_done"].max()) if len(tables.trials) else 1
    return downsample_trials(
        tables, min(MAX_TRIALS, max(N_BEST_TRIALS, MAX_CURVE_POINTS // max(longest, 1)))
    )


def restrict_to_subset(tables: StudyTables, subset: TrialSubset) -> StudyTables:
    """The study with only these trials."""
    if not subset.note:
        return tables
    return replace(
        tables,
        records=tuple(record for record in tables.records if record.number in subset.numbers),
        trials=tables.trials[tables.trials["number"].isin(subset.numbers)].reset_index(drop=True),
        epochs=tables.epochs[tables.epochs["number"].isin(subset.numbers)].reset_index(drop=True),
    )
