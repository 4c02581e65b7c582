from harness.core.records import TrialFailure, read_record, write_record
from harness.data.splits.splits import read_split
from harness.report.page.summary import summary_lines
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder


def lines_of(study: Builder) -> dict[str, str]:
    split = read_split(study.paths.split_csv)
    return {line.title: line.text for line in summary_lines(load_study_tables(study.paths), split)}


def test_summary_of_a_study(shared: Builder) -> None:
    lines = lines_of(shared)
    assert list(lines) == ["Failures", "Measured on"]
    assert lines["Failures"].startswith("diverged (1);")
    assert lines["Measured on"].startswith(
        "8 validation images at 32 × 32 pixels; 1 test image left untouched."
    )


def test_summary_of_an_empty_study_says_nothing(study: Builder) -> None:
    assert lines_of(study) == {}


def test_causes_are_counted_most_frequent_first(study: Builder) -> None:
    for number, cause in enumerate(["crashed", "diverged", "diverged"]):
        failure = TrialFailure(cause=cause, message="x")
        study.trial(number, [], state="failed", failure=failure)
    assert lines_of(study)["Failures"].startswith("diverged (2), crashed (1);")


def test_summary_without_a_split_counts_no_images(tables: StudyTables) -> None:
    lines = {line.title: line.text for line in summary_lines(tables, [])}
    assert lines["Measured on"].startswith("The validation images at 32 × 32 pixels. ")


def test_summary_names_trials_that_ran_out_of_gpu_memory(study: Builder) -> None:
    for number in range(3):
        study.trial(number, [0.5])
        path = study.paths.trial(number)
        record = read_record(path.trial_json)
        write_record(path, record.model_copy(update={"micro_batch": (None, 4, 1)[number]}))
    assert lines_of(study)["GPU memory"].startswith(
        "2 trials ran out of it and went on with whole batches, but fewer images at once in the "
        "network: 1 (4), 2 (1)."
    )
