from pathlib import Path

import pytest

from harness.core.records import TrialFailure, read_record, write_record
from harness.data.splits.splits import read_split
from harness.report.page.headline import ConfirmationSummary, next_step, summary_lines
from harness.report.tables.study_tables import StudyTables, load_study_tables
from tests.report.studies import Builder


def answers(study: Builder, confirmed: ConfirmationSummary | None = None) -> dict[str, str]:
    split = read_split(study.paths.split_csv)
    tables = load_study_tables(study.paths)
    lines = [*summary_lines(tables, split, confirmed), next_step(tables, split, confirmed)]
    return {line.title: f"{line.command} {line.text}".strip() for line in lines}


def test_lines_of_a_study(shared: Builder) -> None:
    lines = answers(shared)
    assert list(lines) == ["Search", "Confidence", "Failures", "Measured on", "Next step"]
    assert lines["Search"] == (
        "5 parameters: arch, encoder_name, encoder_depth, optim.lr and decoder_attention_type. "
        "8 of 8 finished: 5 complete, 2 pruned, 1 failed. 24 epochs trained in 12 s of training."
    )
    assert lines["Confidence"].startswith(
        "Leading, not confirmed. Every configuration was trained once"
    )
    assert "trial 4 is second, 0.1265 behind" in lines["Confidence"]
    assert lines["Next step"].startswith("harness confirm --study tiny --top 5 --seeds 3 trains")


def test_second_chances_and_priors_are_named(tmp_path: Path) -> None:
    rows = [{"loss.dice": 0.5}, {"loss.dice": 0.25}]
    study = Builder(tmp_path, config={"priors": [{"study": "polyps", "first": 1, "rows": rows}]})
    study.trial(0, [0.5, 0.4])
    study.trial(1, [0.6, 0.3], second_chance=1)
    assert answers(study)["Search"].endswith(
        " 1 stopped trial had a second chance at the end (1). 2 good configurations of polyps "
        "guided the search."
    )


def test_an_empty_study_ranks_nothing(study: Builder) -> None:
    lines = answers(study)
    assert lines["Search"] == (
        "One configuration. 0 of 8 finished: 0 complete, 0 pruned, 0 failed. 0 epochs trained."
    )
    assert lines["Confidence"] == "No result yet."
    assert lines["Next step"] == "harness run --study tiny runs the remaining 8 of 8 trials."


def test_running_trials_are_counted_apart(study: Builder) -> None:
    study.trial(0, [0.5], state="running")
    assert "0 of 8 finished" in answers(study)["Search"]
    assert "; 1 running." in answers(study)["Search"]


def test_a_study_that_only_failed_says_what_helps(tmp_path: Path) -> None:
    study = Builder(tmp_path, config={"budget": {"trials": 2, "keep": 5}})
    for number in range(2):
        failure = TrialFailure(cause="diverged", message="train/loss is nan")
        study.trial(number, [], state="failed", failure=failure)
    assert answers(study)["Next step"] == (
        "No trial is complete. Lower the upper end of optim.lr, or set optim.grad_clip."
    )


def test_a_study_whose_trials_were_all_pruned_blames_the_pruner(tmp_path: Path) -> None:
    study = Builder(tmp_path, config={"budget": {"trials": 1, "keep": 5}})
    study.trial(0, [0.5], state="pruned")
    assert answers(study)["Next step"] == (
        "No trial is complete. The pruner stopped them: let trials train to the end (pruner: none)."
    )


def test_a_study_that_only_runs_blames_nothing(tmp_path: Path) -> None:
    study = Builder(tmp_path, config={"budget": {"trials": None, "keep": 5}})
    study.trial(0, [0.5], state="running")
    assert answers(study)["Next step"] == "No trial is complete."


def test_one_configuration_on_several_seeds(study: Builder) -> None:
    for number in range(3):
        study.trial(number, [0.5 + 0.01 * number])
    assert "differ only in their seeds" in answers(study)["Confidence"]


def test_repeated_configurations_are_not_every_one_trained_once(study: Builder) -> None:
    for number, rate in enumerate([1e-3, 1e-3, 1e-4]):
        study.trial(number, [0.5 + 0.01 * number], {"optim.lr": rate})
    assert "Most configurations were trained once" in answers(study)["Confidence"]


def test_a_single_complete_trial_has_no_second(study: Builder) -> None:
    study.trial(0, [0.5])
    assert "no second complete trial" in answers(study)["Confidence"]


def test_many_parameters_are_counted_not_listed(study: Builder) -> None:
    params = {f"model.options.o{k}": k for k in range(8)}
    shapes = {
        key: {
            "name": "IntDistribution",
            "attributes": {"low": 0, "high": 9, "step": 1, "log": False},
        }
        for key in params
    }
    study.trial(0, [0.5], params, distributions=shapes)
    expected = "8 parameters: o0, o1, o2, o3, o4, o5 and 2 more. 1 of 8 finished"
    assert answers(study)["Search"].startswith(expected)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [(0, "harness test --study tiny"), (1, "Test the model on images from elsewhere")],
)
def test_a_confirmed_study_is_tested_once(shared: Builder, looks: int, expected: str) -> None:
    lines = answers(shared, ConfirmationSummary(looks))
    assert lines["Confidence"].startswith("The best configurations were trained again")
    assert lines["Next step"].startswith(expected)


def test_a_searched_seed_makes_no_other_configuration(study: Builder) -> None:
    for number in range(3):
        study.trial(number, [0.5 - 0.1 * number], {"train.seed": number})
    assert "All complete trials have the same configuration" in answers(study)["Confidence"]


def summary_texts(study: Builder) -> dict[str, str]:
    split = read_split(study.paths.split_csv)
    return {line.title: line.text for line in summary_lines(load_study_tables(study.paths), split)}


def test_summary_of_a_study(shared: Builder) -> None:
    lines = summary_texts(shared)
    assert list(lines) == ["Search", "Confidence", "Failures", "Measured on"]
    assert lines["Failures"].startswith("diverged (1);")
    assert lines["Measured on"].startswith(
        "8 validation images at 32 × 32 pixels; 1 test image never opened."
    )


def test_summary_of_an_empty_study_has_no_measurements(study: Builder) -> None:
    assert list(summary_texts(study)) == ["Search", "Confidence"]


def test_causes_are_counted_most_frequent_first(study: Builder) -> None:
    for number, cause in enumerate(["crashed", "diverged", "diverged"]):
        failure = TrialFailure(cause=cause, message="x")
        study.trial(number, [], state="failed", failure=failure)
    assert summary_texts(study)["Failures"].startswith("diverged (2), crashed (1);")


def test_summary_without_a_split_counts_no_images(tables: StudyTables) -> None:
    lines = {line.title: line.text for line in summary_lines(tables, [])}
    assert lines["Measured on"].startswith("The validation images at 32 × 32 pixels. ")


def test_summary_names_trials_that_ran_out_of_gpu_memory(study: Builder) -> None:
    for number in range(3):
        study.trial(number, [0.5])
        path = study.paths.trial(number)
        record = read_record(path.trial_json)
        write_record(path, record.model_copy(update={"micro_batch": (None, 4, 1)[number]}))
    assert summary_texts(study)["GPU memory"].startswith(
        "2 trials ran out of memory and continued with the full batch split into micro-batches "
        "(trial and images): 1 (4), 2 (1). "
    )


def test_summary_gives_the_seam_index_of_the_leading_trial(study: Builder) -> None:
    for number, index in enumerate((1.234, 2.0)):
        study.trial(number, [0.5 + 0.1 * number])
        path = study.paths.trial(number)
        record = read_record(path.trial_json)
        write_record(path, record.model_copy(update={"seam_index": index}))
    assert summary_texts(study)["Windows"].startswith(
        "Trial 0 predicts in windows: its decisions change 1.23 times as often at their borders as "
        "elsewhere (seam index)."
    )


def test_summary_says_that_metrics_are_at_native_size(tmp_path: Path) -> None:
    study = Builder(tmp_path, "native", config={"data": {"metrics_at": "native"}})
    study.trial(0, [0.5])
    lines = {line.title: line.text for line in summary_lines(load_study_tables(study.paths), [])}
    assert lines["Measured on"].startswith("The validation images at the size of each image. ")
