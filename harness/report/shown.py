"""Which trials of a large study its figures draw, so that the page stays small and usable."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from harness.report.tables import StudyTables, ranked_records
from harness.wording import count

BEST = 100  # complete trials that are always drawn
MOST = 600  # trials drawn in all; with more the page grows and a figure says no more
MOST_POINTS = 24_000  # of one figure of curves


@dataclass(frozen=True)
class Shown:
    """The trials that are drawn.

    Attributes:
        note: "" where all are, else what was left out, as a sentence.
    """

    numbers: Collection[int]
    note: str


def shown_trials(tables: StudyTables, most: int = MOST) -> Shown:
    """All trials, or the best BEST complete ones and an even sample, by number, of the rest.

    Args:
        most: trials in all, at least BEST.
    """
    numbers = [record.number for record in tables.records]
    if len(numbers) <= most:
        return Shown(frozenset(numbers), "")
    best = [record.number for record in ranked_records(tables)[:BEST]]
    first = frozenset(best)
    rest = [number for number in numbers if number not in first]
    n = most - len(best)
    sample = [rest[i * len(rest) // n] for i in range(n)]
    note = (
        f"Drawn are the best {count(len(best), 'complete trial')} and {n} of the other "
        f"{len(rest)}, evenly by number; all are in trials.csv."
    )
    return Shown(frozenset([*best, *sample]), note)


def shown_curves(tables: StudyTables) -> Shown:
    """Fewer trials where curves are long: at most about MOST_POINTS epochs, and BEST trials."""
    longest = int(tables.trials["epochs_done"].max()) if len(tables.trials) else 1
    return shown_trials(tables, min(MOST, max(BEST, MOST_POINTS // max(longest, 1))))


def only(tables: StudyTables, shown: Shown) -> StudyTables:
    """The study with these trials alone."""
    if not shown.note:
        return tables
    return replace(
        tables,
        records=tuple(record for record in tables.records if record.number in shown.numbers),
        trials=tables.trials[tables.trials["number"].isin(shown.numbers)].reset_index(drop=True),
        epochs=tables.epochs[tables.epochs["number"].isin(shown.numbers)].reset_index(drop=True),
    )
