from pathlib import Path

import pytest

from harness.core.paths import TrialPaths
from harness.core.records import TrialRecord, TrialState, write_record
from harness.training.loop.attempt_guard import AttemptGuard
from harness.training.loop.checkpoint import read_checkpoint, write_checkpoint
from harness.training.loop.errors import StaleAttemptError


def record(paths: TrialPaths, attempt: int, state: TrialState = "running") -> None:
    write_record(
        paths,
        TrialRecord(
            study="s",
            number=paths.number,
            state=state,
            params={},
            distributions={},
            epochs=3,
            seed=1,
            attempt=attempt,
        ),
    )


def test_only_the_attempt_of_the_record_may_write(tmp_path: Path) -> None:
    paths = TrialPaths(tmp_path / "0003")
    first, second = AttemptGuard(paths, 1), AttemptGuard(paths, 2)
    record(paths, 1)
    first.check_current()
    record(paths, 2)
    second.check_current()
    with pytest.raises(
        StaleAttemptError, match=r"trial.json: attempt 2 is running; this is attempt 1,"
    ):
        first.check_current()
    record(paths, 2, "failed")
    with pytest.raises(StaleAttemptError, match="attempt 2 is failed"):
        second.check_current()


def test_training_without_a_record_is_free(tmp_path: Path) -> None:
    AttemptGuard(TrialPaths(tmp_path / "0003"), None).check_current()


def test_refused_checkpoint_replaces_nothing(tmp_path: Path) -> None:
    """A worker that was stopped while it wrote one, and woken when its successor had more."""
    paths = TrialPaths(tmp_path / "0003")
    record(paths, 2)
    for epoch in (4, 5):
        write_checkpoint(paths, {"epoch": epoch}, AttemptGuard(paths, 2).check_current)
    with pytest.raises(StaleAttemptError):
        write_checkpoint(paths, {"epoch": 3}, AttemptGuard(paths, 1).check_current)
    assert read_checkpoint(paths) == {"epoch": 5}
    assert {path.name for path in paths.root.iterdir()} == {
        "trial.json",
        "checkpoint",
        "checkpoint.previous",
    }
