from pathlib import Path

from harness.data.splits import read_split
from harness.records import Failure, read_record, write_record
from harness.report.summary import summary_lines
from harness.report.tables import StudyTables, load_study
from tests.report.studies import Builder


def lines_of(study: Builder) -> dict[str, str]:
    split = read_split(study.paths.split_csv)
    return {line.title: line.text for line in summary_lines(load_study(study.paths), split)}


def test_summary_of_a_study(shared: Builder) -> None:
    lines = lines_of(shared)
    assert list(lines) == [
        "Asked",
        "Trials",
        "Failures",
        "Leading",
        "Not confirmed",
        "Measured on",
    ]
    assert lines["Trials"] == (
        "8 of 8 finished: 5 complete, 2 pruned, 1 failed. 24 epochs trained in 12 s of training."
    )
    assert lines["Failures"].startswith("diverged (1);")
    assert lines["Leading"].startswith(
        "Trial 3: val/dice_loss 0.1235 (val/dice 0.8765, val/iou 0.4383) at epoch 4 of 4, with "
        "model.arch Unet, "
    )
    assert "trial 4 is second, 0.1265 behind" in lines["Not confirmed"]
    assert lines["Measured on"].startswith(
        "8 validation images at 32 × 32 pixels; 1 test image left untouched."
    )


def test_summary_of_an_empty_study_ranks_nothing(study: Builder) -> None:
    lines = lines_of(study)
    assert lines["Trials"] == "0 of 8 finished: 0 complete, 0 pruned, 0 failed. 0 epochs trained."
    assert lines["Leading"] == "No trial is complete yet, so there is nothing to rank."
    assert "Measured on" not in lines


def test_summary_counts_running_trials_apart(study: Builder) -> None:
    study.trial(0, [0.5], state="running")
    assert "0 of 8 finished" in lines_of(study)["Trials"]
    assert "; 1 running." in lines_of(study)["Trials"]


def test_summary_of_one_configuration_on_several_seeds(study: Builder) -> None:
    for number in range(3):
        study.trial(number, [0.5 + 0.01 * number])
    assert "differ by their seeds alone" in lines_of(study)["Not confirmed"]


def test_summary_of_repeated_configurations_does_not_say_every(study: Builder) -> None:
    for number, rate in enumerate([1e-3, 1e-3, 1e-4]):
        study.trial(number, [0.5 + 0.01 * number], {"optim.lr": rate})
    assert lines_of(study)["Not confirmed"].startswith("Most configurations were trained once")


def test_summary_with_a_single_complete_trial(study: Builder) -> None:
    study.trial(0, [0.5])
    assert "no second complete trial" in lines_of(study)["Not confirmed"]


def test_causes_are_counted_most_frequent_first(study: Builder) -> None:
    for number, cause in enumerate(["crashed", "diverged", "diverged"]):
        failure = Failure(cause=cause, message="x")
        study.trial(number, [], state="failed", failure=failure)
    assert lines_of(study)["Failures"].startswith("diverged (2), crashed (1);")


def test_summary_without_a_split_counts_no_images(tables: StudyTables) -> None:
    lines = {line.title: line.text for line in summary_lines(tables, [])}
    assert lines["Measured on"].startswith("The validation images at 32 × 32 pixels. ")


def test_summary_without_a_question_asks_nothing(tmp_path: Path) -> None:
    assert "Asked" not in lines_of(Builder(tmp_path, config={"question": None}))


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
