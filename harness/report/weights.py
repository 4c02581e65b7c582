"""Statements about the weights of single trials, on images like these: intervals, paired tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.evaluation.intervals import MIN_IMAGES, Interval
from harness.evaluation.pairs import PairedTest, holm, least_p
from harness.report.image_values import QUALITY, compare_trials, quality_intervals, scores_of
from harness.report.left_out import SCORES, left_out
from harness.report.sheets import Cell, Column, Sheet
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import among, count

TOP = 5  # trials that are compared with the leading one


@dataclass(frozen=True)
class WeightsPart:
    """What the template needs.

    Attributes:
        ranking: the leaderboard with its intervals.
        note: why it has none; "" where it has.
        sheet: the leading trial against the next ones; without rows where there are none.
    """

    ranking: Sheet
    note: str
    sheet: Sheet


@dataclass(frozen=True)
class Versus:
    """The best trial that has scores against another.

    Attributes:
        leading: number of the former.
        p: corrected by Holm for all that are compared.
    """

    leading: int
    number: int
    test: PairedTest
    p: float


def weights_part(tables: StudyTables, ranking: Sheet) -> WeightsPart:
    """Add intervals to the leaderboard, and compare the leading trial with the next ones."""
    intervals = quality_intervals(tables)
    note = ""
    if ranking.rows and not intervals:
        note = (
            f"Dice and IoU stand without intervals: below {MIN_IMAGES} scored validation images "
            "are too few for an interval."
        )
    return WeightsPart(with_intervals(ranking, intervals), note, weights_sheet(tables))


def with_intervals(ranking: Sheet, intervals: Mapping[int, Mapping[str, Interval]]) -> Sheet:
    """The leaderboard with a column of intervals behind each of Dice and IoU, where there are."""
    for metric in QUALITY:
        if not any(metric in each for each in intervals.values()):
            continue
        titles = [column.title for column in ranking.columns]
        name = f"val/{metric}"
        place = titles.index(name) + 1 if name in titles else titles.index("trial") + 2
        hint = (
            f"{name} of these weights: 95 % of such intervals hold its mean over all images like "
            "these (BCa bootstrap over images)"
        )
        column = Column(f"{metric}, 95 %", hint)
        number = titles.index("trial")
        rows = tuple(
            (*row[:place], _interval(intervals.get(int(row[number].text), {}).get(metric)),
             *row[place:])
            for row in ranking.rows
        )  # fmt: skip
        columns = (*ranking.columns[:place], column, *ranking.columns[place:])
        ranking = replace(ranking, columns=columns, rows=rows)
    return ranking


def compared(tables: StudyTables) -> list[Versus]:
    """The best trial with scores against each of the next, up to TOP trials, image by image."""
    numbers = [record.number for record in ranked_records(tables)[:TOP]]
    having = [number for number in numbers if scores_of(tables, number) is not None]
    pairs = compare_trials(tables, having[:1], having)
    # without an image that has a value of both there is no difference to give
    tests = {pair[1]: test for pair, test in pairs.items() if test.n}
    corrected = holm([test.p for test in tests.values()])
    return [
        Versus(having[0], n, test, p) for (n, test), p in zip(tests.items(), corrected, strict=True)
    ]


def weights_sheet(tables: StudyTables) -> Sheet:
    """The comparisons as a table; no columns where there is nothing to compare."""
    found = compared(tables)
    if not found:
        return Sheet((), (), note=_incomparable(tables))
    metric = tables.config.objective.metric
    sizes = dict.fromkeys(one.test.n for one in found)
    least = among(f"at least {least_p(n):.2g} for {count(n, 'image')}" for n in sizes)
    better = "below" if tables.minimized else "above"
    leading = found[0].leading
    columns = (
        Column(f"{_who(tables, leading)} against", "number of the other trial"),
        Column(
            "difference",
            f"mean over images of {metric}; {better} 0: trial {found[0].leading} is better",
        ),
        Column("95 %", "BCa bootstrap interval of that difference over images"),
        Column("images", "with a value of both"),
        Column("p", f"two-sided, signs of the differences flipped, not corrected; {least}"),
        Column("p, Holm", f"corrected for the {len(found)} comparisons"),
    )
    rows = tuple(
        (
            Cell(str(one.number), str(one.number)),
            _number(one.test.difference, "+.4f"),
            _interval(one.test.interval, "+.4f"),
            Cell(str(one.test.n), str(one.test.n)),
            _number(one.test.p, ".2g"),
            _number(one.p, ".2g"),
        )
        for one in found
    )
    return Sheet(columns, rows, len(rows), _missing(tables, found))


def _incomparable(tables: StudyTables) -> str:
    """Why nothing is compared where two of the best trials have scores; "" where they have not."""
    numbers = [record.number for record in ranked_records(tables)[:TOP]]
    if sum(scores_of(tables, number) is not None for number in numbers) < 2:
        return ""
    return (
        f"No validation image has a value of {tables.config.objective.metric} for two trials, so "
        "none are compared image by image."
    )


def _who(tables: StudyTables, number: int) -> str:
    """The trial that the others are compared with: the leading one only if it leads."""
    leads = ranked_records(tables)[0].number == number
    return f"leading trial {number}" if leads else f"trial {number}"


def _missing(tables: StudyTables, found: Sequence[Versus]) -> str:
    """Which of the best trials could not be compared."""
    with_values = {found[0].leading, *(one.number for one in found)}
    missing = [r.number for r in ranked_records(tables)[:TOP] if r.number not in with_values]
    note = left_out(tables, missing, SCORES)
    if not note or found[0].leading == ranked_records(tables)[0].number:
        return note
    return f"{note} Compared is trial {found[0].leading}, the best that has scores."


def _interval(found: Interval | None, form: str = ".4f") -> Cell:
    if found is None:
        return Cell("–", "", "none: too few images, or no scores")
    text = f"{format(found.low, form)} to {format(found.high, form)}"
    return Cell(text, repr(found.low), f"{found.low!r} to {found.high!r}, n = {found.n}")


def _number(value: float, form: str) -> Cell:
    return Cell(format(value, form), repr(value), repr(value))
