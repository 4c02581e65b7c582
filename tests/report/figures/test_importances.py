import re

from harness.core import files
from harness.report.analysis.importance import (
    ParameterImportance,
    measure_importances,
    pedanova_shares,
)
from harness.report.figures.importances import (
    ImportanceRow,
    draw_importances,
    importance_rows,
    importance_section,
)
from harness.report.tables.study_tables import StudyTables, load_study_tables, ranked_records
from tests.report.studies import Builder


def test_rows_say_in_how_many_trials_a_parameter_was_in_force(tables: StudyTables) -> None:
    named = [
        ParameterImportance(key, share, 0.5, 0.2) for key, share in pedanova_shares(tables).items()
    ]
    rows = {row.key: row for row in importance_rows(ranked_records(tables), named)}
    assert {key: row.share for key, row in rows.items()} == pedanova_shares(tables)
    assert rows["optim.lr"].n_active == rows["optim.lr"].n_complete == 5
    assert rows["model.options.decoder_attention_type"].n_active == 3


def test_bars_are_labelled_and_the_largest_is_on_top() -> None:
    rows = [
        ImportanceRow("optim.lr", 0.75, 9, 9, 0.9, 0.3),
        ImportanceRow("model.<b>", 0.25, 4, 9, 0.5, 0.3),
    ]
    figure = draw_importances(rows)
    assert tuple(figure.data[0].x) == (0.75, 0.25)
    assert tuple(figure.layout.yaxis.ticktext) == ("optim.lr", "model.&lt;b&gt; (4 of 9)")
    assert figure.layout.yaxis.autorange == "reversed"
    assert figure.layout.xaxis.title.text == "share (no unit; all add up to 1)"


def test_each_branch_with_enough_trials_is_drawn_and_the_others_are_named(study: Builder) -> None:
    files.write_text(
        study.paths.space_yaml,
        "parameters:\n  loss.bce: {low: 0, high: 1, when: {model.arch: [Unet]}}\n",
    )
    for number in range(9):
        params = {"model.arch": "Unet" if number < 6 else "FPN", "optim.lr": 1e-4 * (number + 1)}
        study.trial(number, [0.5 - 0.01 * number], params)
    tables = load_study_tables(study.paths)
    found = importance_section(tables, measure_importances(tables))
    assert [chart.label.split(":")[0] for chart in found.charts] == [
        "optim.lr explains most of the order of the trials",
        "optim.lr explains most of the order of the trials where model.arch Unet",
    ]
    assert found.charts[1].figure.layout.title.text == "model.arch Unet, 6 trials"
    assert "Excluded branches, with their number of trials: model.arch FPN (3)." in found.caption


def test_what_shuffled_values_reach_is_said_and_nothing_below_it_is_named(study: Builder) -> None:
    """The loss follows the rate; the weight follows neither."""
    for number in range(24):
        params = {"optim.lr": 10 ** (-5 + number / 8), "loss.dice": number * 7 % 24 / 24}
        study.trial(number, [0.2 + 0.01 * number], params)
    tables = load_study_tables(study.paths)
    found = importance_section(tables, measure_importances(tables))
    (chart,) = found.charts
    assert re.fullmatch(
        r"optim\.lr explains most of the order of the trials: 100%, against \d\d% by shuffled "
        r"values\.",
        chart.label,
    )
    assert re.search(r"optim\.lr 100% \(\d\d%\)\. Each share is of what", found.caption)
    assert re.search(r"1 of 2 parameters explains no more than shuffled values do", found.caption)
    assert "loss.dice" not in found.caption


def test_nothing_is_named_where_nothing_matters(study: Builder) -> None:
    for number in range(24):
        params = {"optim.lr": 10 ** (-5 + number / 8), "loss.dice": number * 7 % 24 / 24}
        study.trial(number, [0.2 + 0.01 * (number * 11 % 24)], params)
    tables = load_study_tables(study.paths)
    found = importance_section(tables, measure_importances(tables))
    assert found.charts == ()
    assert re.fullmatch(
        r"No parameter has an importance above chance: 2 of 2 parameters explain no more than "
        r"shuffled values do "
        r"\(\d\d%\)\.",
        found.empty,
    )
