from pathlib import Path

import pytest

from harness.config.study import StudyConfig
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, write_record
from harness.search.run.retention import ArtifactRetention, remove_failed_checkpoints

VALUES = [0.5, 0.3, 0.4, 0.9, 0.2]


def bulky(paths: StudyPaths, number: int, state: str, value: float | None) -> TrialRecord:
    """A trial that has ended and still holds all it wrote."""
    trial = paths.trial(number)
    for folder in (trial.model, trial.probabilities):
        folder.mkdir(parents=True)
    trial.scores_csv.write_text("row\n", encoding="utf-8")
    trial.checkpoint.write_bytes(b"state")
    record = TrialRecord(
        study="s",
        number=number,
        state=state,  # type: ignore[arg-type]
        params={},
        distributions={},
        epochs=1,
        seed=0,
        value=value,
    )
    write_record(trial, record)
    return record


def models_left(paths: StudyPaths) -> list[int]:
    return [t.number for t in paths.all_trials() if t.model.exists() and t.probabilities.exists()]


@pytest.fixture
def paths(tmp_path: Path) -> StudyPaths:
    return StudyPaths(tmp_path / "s")


@pytest.mark.parametrize(("direction", "kept"), [("minimize", [1, 4]), ("maximize", [0, 3])])
def test_models_of_the_best_stay_and_scores_of_all(
    paths: StudyPaths, direction: str, kept: list[int]
) -> None:
    metric = "val/dice_loss" if direction == "minimize" else "val/dice"
    settings = {"budget": {"keep": 2}, "objective": {"metric": metric, "direction": direction}}
    keeper = ArtifactRetention(paths, StudyConfig.from_mapping(settings))
    for number, value in enumerate(VALUES):
        keeper.add_trial(bulky(paths, number, "complete", value))
    assert models_left(paths) == kept
    assert keeper.best is not None and keeper.best.number == (4 if direction == "minimize" else 3)
    assert all(trial.scores_csv.exists() for trial in paths.all_trials())
    assert not any(trial.checkpoint.exists() for trial in paths.all_trials())


def test_pruned_and_failed_trials_keep_no_model_however_good(paths: StudyPaths) -> None:
    keeper = ArtifactRetention(paths, StudyConfig())
    keeper.add_trial(bulky(paths, 0, "complete", 0.5))
    keeper.add_trial(bulky(paths, 1, "pruned", 0.1))
    keeper.add_trial(bulky(paths, 2, "failed", None))
    assert models_left(paths) == [0]
    assert keeper.best is not None and keeper.best.number == 0


def test_failed_trial_keeps_its_newest_checkpoint_until_the_study_ends(paths: StudyPaths) -> None:
    keeper = ArtifactRetention(paths, StudyConfig())
    for number, state in enumerate(("complete", "failed", "pruned", "failed")):
        record = bulky(paths, number, state, 0.5 if state == "complete" else None)
        paths.trial(number).checkpoint_previous.write_bytes(b"older")
        keeper.add_trial(record)
    assert checkpoints_left(paths) == ["0001/checkpoint", "0003/checkpoint"]
    assert remove_failed_checkpoints(StudyPaths(paths.root / "none")) == 0
    keeper = ArtifactRetention(paths, StudyConfig())  # the next command
    assert checkpoints_left(paths) == ["0001/checkpoint", "0003/checkpoint"]
    keeper.remove_failed_checkpoints()
    assert checkpoints_left(paths) == []


def test_checkpoint_of_a_running_trial_is_nobody_s_to_remove(paths: StudyPaths) -> None:
    write_record(paths.trial(0), bulky(paths, 0, "running", None))
    bulky(paths, 1, "failed", None)
    assert remove_failed_checkpoints(paths) == len(b"state")
    assert checkpoints_left(paths) == ["0000/checkpoint"]


def checkpoints_left(paths: StudyPaths) -> list[str]:
    found = (trial.root.glob("checkpoint*") for trial in paths.all_trials())
    return [f"{path.parent.name}/{path.name}" for paths in found for path in paths]


def test_earlier_run_is_remembered(paths: StudyPaths) -> None:
    config = StudyConfig.from_mapping({"budget": {"keep": 1}})
    ArtifactRetention(paths, config).add_trial(bulky(paths, 0, "complete", 0.2))
    ArtifactRetention(paths, config).add_trial(bulky(paths, 1, "complete", 0.3))
    assert models_left(paths) == [0]
