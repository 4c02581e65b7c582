"""The control arm of the pruner `curve`, read from a study's folder."""

from pathlib import Path

import pytest

from harness.config.study import StudyConfig
from harness.core.paths import StudyPaths
from harness.core.records import read_records
from harness.search.pruning.curve_control import control_arm_line
from tests.search.fakes import Curve, FakeExecutor, controller_of, definition_of

SPACE = {"parameters": {"optim.lr": {"low": 1e-4, "high": 1e-1, "log": True}}}
FIXED = {"fixed": {"train.epochs": 6}, "seed": 1}
SURPRISE = [0.9, 0.9, 0.9, 0.9, 0.9, 0.1]


def played(root: Path, curves: dict[int, Curve], trials: int, **pruner: object) -> StudyPaths:
    """A study whose trials play these curves, others a plain one that gets worse by number."""

    def curve(number: int) -> Curve:
        start = 0.5 + 0.01 * number
        return curves.get(number, [start * 0.95**epoch for epoch in range(6)])

    definition = definition_of(SPACE, **FIXED, pruner={"name": "curve", **pruner})
    executor = FakeExecutor(lambda task: curve(task.number))
    controller_of(root, definition, executor).run(trials)
    return StudyPaths(root / "studies" / "s")


def config(**pruner: object) -> StudyConfig:
    return definition_of(SPACE, **FIXED, pruner={"name": "curve", **pruner}).config


def test_a_surprise_in_the_control_arm_is_trained_to_its_end_and_counted(tmp_path: Path) -> None:
    """Trial 10 looks hopeless and ends best; trial 9 looked the same and was pruned."""
    paths = played(tmp_path, {9: SURPRISE, 10: SURPRISE}, 11)
    states = {record.number: record.state for record in read_records(paths)}
    assert (states[10], states[9]) == ("complete", "pruned")
    assert control_arm_line(paths, config()) == (
        "pruner curve: of 1 trial never pruned it would have stopped 1, wrongly 1 "
        "(ended among the best)"
    )


def test_a_hopeless_one_was_rightly_stopped(tmp_path: Path) -> None:
    line = control_arm_line(played(tmp_path, {10: [0.9] * 6}, 11), config())
    assert line is not None
    assert "it would have stopped 1, wrongly 0" in line


@pytest.mark.parametrize("options", [{"control": 0}, {"name": "median"}])
def test_without_a_control_arm_nothing_is_said(tmp_path: Path, options: dict[str, object]) -> None:
    paths = played(tmp_path, {}, 11, **options)
    assert control_arm_line(paths, config(**options)) is None


def test_nothing_is_said_of_a_study_without_trials(tmp_path: Path) -> None:
    assert control_arm_line(StudyPaths(tmp_path / "studies" / "s"), config()) is None
