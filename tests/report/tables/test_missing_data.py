from harness.report.analysis.paired_leaders import comparison_sheet
from harness.report.figures.strata import strata_section
from harness.report.tables.missing_data import PREDICTIONS, SCORES, missing_data_note
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder


def test_trials_are_named_with_their_origin_in_the_order_of_the_leaderboard(
    study: Builder,
) -> None:
    for number, origin in enumerate([None, "old/3", None]):
        study.trial(number, [0.5 - 0.1 * number], imported=origin)
    tables = load_study_tables(study.paths)
    assert missing_data_note(tables, [], SCORES) == ""
    assert missing_data_note(tables, [0], SCORES) == "Trial 0 has no saved scores per image."
    assert missing_data_note(tables, [0, 1, 2], PREDICTIONS) == (
        "Trials 2, 1 (imported from old/3) and 0 have no saved predictions."
    )


def test_of_many_five_are_named(study: Builder) -> None:
    for number in range(7):
        study.trial(number, [0.1 + 0.1 * number])
    found = missing_data_note(load_study_tables(study.paths), range(7), SCORES)
    assert found.startswith("Trials 0, 1, 2, 3, 4 and 2 more have no saved ")


def test_who_is_compared_is_named_where_the_leading_trial_has_no_scores(study: Builder) -> None:
    study.trial(0, [0.2], imported="old/7")
    study.trial(1, [0.4], skill=0.9)
    study.trial(2, [0.5], skill=0.5)
    tables = load_study_tables(study.paths)
    sheet = comparison_sheet(tables)
    assert sheet.columns[0].title == "trial 1 against"
    assert [row[0].text for row in sheet.rows] == ["2"]
    assert sheet.note == (
        "Trial 0 (imported from old/7) has no saved scores per image. The reference is "
        "trial 1, the best one with scores."
    )
    caption = strata_section(tables).caption
    assert "Trial 0 (imported from old/7) has no saved scores" in caption


def test_the_leading_trial_is_called_so_where_it_is_compared(study: Builder) -> None:
    for number in range(3):
        study.trial(number, [0.2 + 0.1 * number], skill=None if number == 1 else 0.5)
    sheet = comparison_sheet(load_study_tables(study.paths))
    assert sheet.columns[0].title == "leading trial 0 against"
    assert sheet.note == "Trial 1 has no saved scores per image."
