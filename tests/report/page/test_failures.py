from harness.core.records import TrialFailure
from harness.report.page.failures import REMEDIES, failures_sheet
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder


def test_causes_by_frequency_with_first_message_and_remedy(study: Builder) -> None:
    causes = ["crashed", "diverged", "odd", "diverged"]
    for number, cause in enumerate(causes):
        failure = TrialFailure(cause=cause, message=f"message {number}")
        study.trial(number, [], state="failed", failure=failure)
    study.trial(4, [0.5])
    sheet = failures_sheet(load_study_tables(study.paths))
    texts = [[cell.text for cell in row] for row in sheet.rows]
    assert [column.title for column in sheet.columns][:4] == [
        "cause",
        "trials",
        "numbers",
        "first message",
    ]
    assert texts[0] == ["diverged", "2", "1, 3", "message 1", REMEDIES["diverged"]]
    assert [row[:4] for row in texts[1:]] == [
        ["crashed", "1", "0", "message 0"],
        ["odd", "1", "2", "message 2"],
    ]
    assert texts[2][4] == "See the message and the trial's trial.json."


def test_many_trials_of_one_cause_are_cut(study: Builder) -> None:
    for number in range(14):
        failure = TrialFailure(cause="hung", message="x")
        study.trial(number, [], state="failed", failure=failure)
    (row,) = failures_sheet(load_study_tables(study.paths)).rows
    assert row[1].text == "14" and row[2].text == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …"


def test_a_study_without_failures_has_no_rows(study: Builder) -> None:
    study.trial(0, [0.5])
    assert failures_sheet(load_study_tables(study.paths)).rows == ()
