"""Statements about the weights of single trials, on images like these: intervals, paired tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.config.measurements import PRIMARY_METRICS
from harness.core.text import count, join_words
from harness.evaluation.statistics.intervals import MIN_IMAGES, ConfidenceInterval
from harness.evaluation.statistics.paired_tests import PairedTest, holm_correction, smallest_p
from harness.report.analysis.image_values import (
    compare_trials,
    load_trial_scores,
    quality_intervals,
)
from harness.report.tables.missing_data import SCORES, missing_data_note
from harness.report.tables.sheet_cells import SheetCell, SheetColumn
from harness.report.tables.sheets import ReportSheet
from harness.report.tables.study_tables import StudyTables, ranked_records

N_COMPARED_TRIALS = 5  # trials that are compared with the leading one


@dataclass(frozen=True)
class LeaderboardComparison:
    """What the template needs.

    Attributes:
        ranking: the leaderboard with its intervals.
        note: why it has none; "" where it has.
        sheet: the leading trial against the next ones; without rows where there are none.
    """

    ranking: ReportSheet
    note: str
    sheet: ReportSheet


@dataclass(frozen=True)
class PairedComparison:
    """The best trial that has scores against another.

    Attributes:
        leading: number of the former.
        p: corrected by Holm for all that are compared.
    """

    leading: int
    number: int
    test: PairedTest
    p: float


def build_leaderboard_comparison(
    tables: StudyTables, ranking: ReportSheet
) -> LeaderboardComparison:
    """Add intervals to the leaderboard, and compare the leading trial with the next ones."""
    intervals = quality_intervals(tables)
    note = ""
    if ranking.rows and not intervals:
        note = (
            f"Dice and IoU stand without intervals: below {MIN_IMAGES} scored validation images "
            "are too few for an interval."
        )
    return LeaderboardComparison(
        add_interval_columns(ranking, intervals), note, comparison_sheet(tables)
    )


def add_interval_columns(
    ranking: ReportSheet, intervals: Mapping[int, Mapping[str, ConfidenceInterval]]
) -> ReportSheet:
    """The leaderboard with a column of intervals behind each of Dice and IoU, where there are."""
    for metric in PRIMARY_METRICS:
        if not any(metric in trial_intervals for trial_intervals in intervals.values()):
            continue
        titles = [column.title for column in ranking.columns]
        name = f"val/{metric}"
        position = titles.index(name) + 1 if name in titles else titles.index("trial") + 2
        hint = (
            f"{name} of these weights: 95 % of such intervals hold its mean over all images like "
            "these (BCa bootstrap over images)"
        )
        column = SheetColumn(f"{metric}, 95 %", hint)
        trial_position = titles.index("trial")
        rows = tuple(
            (
                *row[:position],
                _interval_cell(intervals.get(int(row[trial_position].text), {}).get(metric)),
                *row[position:],
            )
            for row in ranking.rows
        )  # fmt: skip
        columns = (*ranking.columns[:position], column, *ranking.columns[position:])
        ranking = replace(ranking, columns=columns, rows=rows)
    return ranking


def compare_leaders(tables: StudyTables) -> list[PairedComparison]:
    """The best trial with scores against each of the next, up to TOP trials, image by image."""
    numbers = [record.number for record in ranked_records(tables)[:N_COMPARED_TRIALS]]
    scored = [number for number in numbers if load_trial_scores(tables, number) is not None]
    pairs = compare_trials(tables, scored[:1], scored)
    # without an image that has a value of both there is no difference to give
    tests = {pair[1]: test for pair, test in pairs.items() if test.n}
    corrected = holm_correction([test.p for test in tests.values()])
    return [
        PairedComparison(scored[0], n, test, p)
        for (n, test), p in zip(tests.items(), corrected, strict=True)
    ]


def comparison_sheet(tables: StudyTables) -> ReportSheet:
    """The comparisons as a table; no columns where there is nothing to compare."""
    comparisons = compare_leaders(tables)
    if not comparisons:
        return ReportSheet((), (), note=_incomparable_note(tables))
    metric = tables.config.objective.metric
    sizes = dict.fromkeys(comparison.test.n for comparison in comparisons)
    smallest_p_text = join_words(
        f"at least {smallest_p(n):.2g} for {count(n, 'image')}" for n in sizes
    )
    side = "below" if tables.minimized else "above"
    leading = comparisons[0].leading
    columns = (
        SheetColumn(f"{_reference_text(tables, leading)} against", "number of the other trial"),
        SheetColumn(
            "difference",
            f"mean over images of {metric}; {side} 0: trial {comparisons[0].leading} is better",
        ),
        SheetColumn("95 %", "BCa bootstrap interval of that difference over images"),
        SheetColumn("images", "with a value of both"),
        SheetColumn(
            "p", f"two-sided, signs of the differences flipped, not corrected; {smallest_p_text}"
        ),
        SheetColumn("p, Holm", f"corrected for the {len(comparisons)} comparisons"),
    )
    rows = tuple(
        (
            SheetCell(str(comparison.number), str(comparison.number)),
            _number_cell(comparison.test.difference, "+.4f"),
            _interval_cell(comparison.test.interval, "+.4f"),
            SheetCell(str(comparison.test.n), str(comparison.test.n)),
            _number_cell(comparison.test.p, ".2g"),
            _number_cell(comparison.p, ".2g"),
        )
        for comparison in comparisons
    )
    return ReportSheet(columns, rows, len(rows), _missing_note(tables, comparisons))


def _incomparable_note(tables: StudyTables) -> str:
    """Why nothing is compared where two of the best trials have scores; "" where they have not."""
    numbers = [record.number for record in ranked_records(tables)[:N_COMPARED_TRIALS]]
    if sum(load_trial_scores(tables, number) is not None for number in numbers) < 2:
        return ""
    return (
        f"No validation image has a value of {tables.config.objective.metric} for two trials, so "
        "none are compared image by image."
    )


def _reference_text(tables: StudyTables, number: int) -> str:
    """The trial that the others are compared with: the leading one only if it leads."""
    is_leading = ranked_records(tables)[0].number == number
    return f"leading trial {number}" if is_leading else f"trial {number}"


def _missing_note(tables: StudyTables, comparisons: Sequence[PairedComparison]) -> str:
    """Which of the best trials could not be compared."""
    compared_numbers = {comparisons[0].leading, *(comparison.number for comparison in comparisons)}
    missing = [
        r.number
        for r in ranked_records(tables)[:N_COMPARED_TRIALS]
        if r.number not in compared_numbers
    ]
    note = missing_data_note(tables, missing, SCORES)
    if not note or comparisons[0].leading == ranked_records(tables)[0].number:
        return note
    return f"{note} Compared is trial {comparisons[0].leading}, the best that has scores."


def _interval_cell(interval: ConfidenceInterval | None, format_spec: str = ".4f") -> SheetCell:
    if interval is None:
        return SheetCell("–", "", "none: too few images, or no scores")
    text = f"{format(interval.low, format_spec)} to {format(interval.high, format_spec)}"
    return SheetCell(
        text, repr(interval.low), f"{interval.low!r} to {interval.high!r}, n = {interval.n}"
    )


def _number_cell(value: float, format_spec: str) -> SheetCell:
    return SheetCell(format(value, format_spec), repr(value), repr(value))
