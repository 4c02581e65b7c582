"""Compare the weights of the leading trials: intervals over images and paired tests."""

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

N_COMPARED_TRIALS = 5  # best trials: the leading one and those that are compared with it


@dataclass(frozen=True)
class LeaderboardComparison:
    """Leaderboard with intervals, and the comparison of its leading trials.

    Attributes:
        ranking: the leaderboard with its intervals.
        note: reason why it has no intervals; "" if it has.
        sheet: the leading trial against the next ones; without rows if there are none.
    """

    ranking: ReportSheet
    note: str
    sheet: ReportSheet


@dataclass(frozen=True)
class PairedComparison:
    """Paired test of the best trial that has scores against another trial.

    Attributes:
        leading: number of the best trial that has scores.
        number: number of the other trial.
        p: p-value with Holm's correction for all comparisons.
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
            f"Dice and IoU are shown without intervals: fewer than {MIN_IMAGES} scored validation "
            "images are too few for an interval."
        )
    return LeaderboardComparison(
        add_interval_columns(ranking, intervals), note, comparison_sheet(tables)
    )


def add_interval_columns(
    ranking: ReportSheet, intervals: Mapping[int, Mapping[str, ConfidenceInterval]]
) -> ReportSheet:
    """Leaderboard with a column of intervals after Dice and after IoU, if there are intervals."""
    for metric in PRIMARY_METRICS:
        if not any(metric in trial_intervals for trial_intervals in intervals.values()):
            continue
        titles = [column.title for column in ranking.columns]
        trial_index, name = titles.index("trial"), f"val/{metric}"
        # Without a column of its own the metric is the objective, which stands after the trial.
        position = titles.index(name) + 1 if name in titles else trial_index + 2
        hint = (
            f"{name} of these weights: 95 % of such intervals contain its mean over all images "
            "like these (BCa bootstrap over images)"
        )
        numbers = [int(row[trial_index].text) for row in ranking.rows]
        cells = [_interval_cell(intervals.get(number, {}).get(metric)) for number in numbers]
        ranking = _insert_column(ranking, position, SheetColumn(f"{metric}, 95 %", hint), cells)
    return ranking


def _insert_column(
    sheet: ReportSheet, position: int, column: SheetColumn, cells: Sequence[SheetCell]
) -> ReportSheet:
    columns = (*sheet.columns[:position], column, *sheet.columns[position:])
    rows = tuple(
        (*row[:position], cell, *row[position:])
        for row, cell in zip(sheet.rows, cells, strict=True)
    )
    return replace(sheet, columns=columns, rows=rows)


def compare_leaders(tables: StudyTables) -> list[PairedComparison]:
    """Paired tests of the best trial with scores against the next, of N_COMPARED_TRIALS trials."""
    numbers = [record.number for record in ranked_records(tables)[:N_COMPARED_TRIALS]]
    scored = [number for number in numbers if load_trial_scores(tables, number) is not None]
    # The best trial with scores is the reference: an imported leader may have come without them.
    pairs = compare_trials(tables, scored[:1], scored)
    # n = 0: no image has a value in both trials, so the difference is nan
    tests = {pair[1]: test for pair, test in pairs.items() if test.n}
    # Only the comparisons that are shown are corrected for; the others were never tested.
    corrected = holm_correction([test.p for test in tests.values()])
    return [
        PairedComparison(scored[0], n, test, p)
        for (n, test), p in zip(tests.items(), corrected, strict=True)
    ]


def comparison_sheet(tables: StudyTables) -> ReportSheet:
    """The comparisons as a table; without columns if there is nothing to compare."""
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
        SheetColumn("images", "images with a value in both trials"),
        SheetColumn("p", f"two-sided sign-flip test, not corrected; {smallest_p_text}"),
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
    """Reason why there is no comparison although two of the best trials have scores; else ""."""
    numbers = [record.number for record in ranked_records(tables)[:N_COMPARED_TRIALS]]
    if sum(load_trial_scores(tables, number) is not None for number in numbers) < 2:
        return ""
    return (
        f"No validation image has a value of {tables.config.objective.metric} in two trials, so "
        "the trials are not compared image by image."
    )


def _reference_text(tables: StudyTables, number: int) -> str:
    """The reference trial in words: "leading trial" only if it leads the ranking."""
    is_leading = ranked_records(tables)[0].number == number
    return f"leading trial {number}" if is_leading else f"trial {number}"


def _missing_note(tables: StudyTables, comparisons: Sequence[PairedComparison]) -> str:
    """Note on the best trials that could not be compared."""
    compared_numbers = {comparisons[0].leading, *(comparison.number for comparison in comparisons)}
    missing = [
        r.number
        for r in ranked_records(tables)[:N_COMPARED_TRIALS]
        if r.number not in compared_numbers
    ]
    note = missing_data_note(tables, missing, SCORES)
    if not note or comparisons[0].leading == ranked_records(tables)[0].number:
        return note
    return f"{note} The reference is trial {comparisons[0].leading}, the best one with scores."


def _interval_cell(interval: ConfidenceInterval | None, format_spec: str = ".4f") -> SheetCell:
    if interval is None:
        return SheetCell("–", "", "no interval: too few images, or no scores")
    text = f"{format(interval.low, format_spec)} to {format(interval.high, format_spec)}"
    return SheetCell(
        text, repr(interval.low), f"{interval.low!r} to {interval.high!r}, n = {interval.n}"
    )


def _number_cell(value: float, format_spec: str) -> SheetCell:
    return SheetCell(format(value, format_spec), repr(value), repr(value))
