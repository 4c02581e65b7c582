"""Which trials of a large study its figures draw, so that the page stays small and usable."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from harness.core.plurals import count
from harness.report.tables.study_tables import StudyTables, ranked_records

N_BEST_TRIALS = 100  # complete trials that are always drawn
MAX_TRIALS = 600  # trials drawn in all; with more the page grows and a figure says no more
MAX_CURVE_POINTS = 24_000  # of one figure of curves


@dataclass(frozen=True)
class TrialSubset:
    """The trials that are drawn.

    Attributes:
        note: "" where all are, else what was left out, as a sentence.
    """

    numbers: Collection[int]
    note: str


def downsample_trials(tables: StudyTables, max_trials: int = MAX_TRIALS) -> TrialSubset:
    """All trials, or the best BEST complete ones and an even sample, by number, of the rest.

    Args:
        max_trials: trials in all, at least BEST.
    """
    numbers = [record.number for record in tables.records]
    if len(numbers) <= max_trials:
        return TrialSubset(frozenset(numbers), "")
    best = [record.number for record in ranked_records(tables)[:N_BEST_TRIALS]]
    best_numbers = frozenset(best)
    rest = [number for number in numbers if number not in best_numbers]
    n = max_trials - len(best)
    sample = [rest[i * len(rest) // n] for i in range(n)]
    note = (
        f"Drawn are the best {count(len(best), 'complete trial')} and {n} of the other "
        f"{len(rest)}, evenly by number; all are in trials.csv."
    )
    return TrialSubset(frozenset([*best, *sample]), note)


def downsample_curves(tables: StudyTables) -> TrialSubset:
    """Fewer trials where curves are long: at most about MOST_POINTS epochs, and BEST trials."""
    longest = int(tables.trials["epochs_done"].max()) if len(tables.trials) else 1
    return downsample_trials(
        tables, min(MAX_TRIALS, max(N_BEST_TRIALS, MAX_CURVE_POINTS // max(longest, 1)))
    )


def restrict_to_subset(tables: StudyTables, subset: TrialSubset) -> StudyTables:
    """The study with these trials alone."""
    if not subset.note:
        return tables
    return replace(
        tables,
        records=tuple(record for record in tables.records if record.number in subset.numbers),
        trials=tables.trials[tables.trials["number"].isin(subset.numbers)].reset_index(drop=True),
        epochs=tables.epochs[tables.epochs["number"].isin(subset.numbers)].reset_index(drop=True),
    )
