"""How long workers may take to save when a study is stopped."""

from pathlib import Path

import pytest

from harness.config.study import StudyConfig
from harness.core.errors import ConfigError
from harness.core.files import atomic_replace, has_pending_write
from harness.core.paths import StudyPaths, TrialPaths
from harness.execution.protocol import Decision, Event
from harness.search.run.stop_conditions import GracefulStop, StopConditions
from tests.search.fakes import FakeExecutor, controller_of, definition_of
from tests.search.run.test_controller import flat, space

STOP_S = 30.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def winding_up(clock: Clock) -> GracefulStop:
    stopped = GracefulStop(StopConditions(timeout_s=0, clock=clock), STOP_S, clock)
    assert not stopped.is_stopping and not stopped.is_over([])
    stop = stopped.check()
    assert stop is not None and stopped.is_stopping
    return stopped


def test_default_is_thirty_seconds_and_a_limit_may_change_at_any_time() -> None:
    config = StudyConfig()
    assert config.limits.stop_s == STOP_S
    assert "limits" not in config.definition()
    with pytest.raises(ConfigError, match=r"limits\.stop_s: input should be greater than 0"):
        StudyConfig.from_mapping({"limits": {"stop_s": 0}})


def test_workers_have_stop_s(winding_up: GracefulStop, clock: Clock, tmp_path: Path) -> None:
    trial = TrialPaths(tmp_path / "0000")
    clock.now += STOP_S
    assert not winding_up.is_over([trial])
    clock.now += 0.5
    assert winding_up.is_over([trial])


def test_checkpoint_that_is_being_written_is_waited_for(
    winding_up: GracefulStop, clock: Clock, tmp_path: Path
) -> None:
    idle, saving = TrialPaths(tmp_path / "0000"), TrialPaths(tmp_path / "0001")
    clock.now += 3 * STOP_S
    with atomic_replace(saving.checkpoint) as temporary:
        temporary.write_bytes(b"half")
        assert has_pending_write(saving.checkpoint) and not has_pending_write(idle.checkpoint)
        assert not winding_up.is_over([idle, saving])
        assert winding_up.is_over([idle]), "only of trials that still run"
    assert winding_up.is_over([idle, saving])


def test_disk_that_never_takes_a_checkpoint_holds_nobody_for_ever(
    winding_up: GracefulStop, clock: Clock, tmp_path: Path
) -> None:
    trial = TrialPaths(tmp_path / "0000")
    with atomic_replace(trial.checkpoint) as temporary:
        temporary.write_bytes(b"half")
        clock.now += 10 * STOP_S
        assert not winding_up.is_over([trial])
        clock.now += 0.5
        assert winding_up.is_over([trial])


def test_study_waits_for_a_worker_that_saves_and_leaves_one_that_does_not(tmp_path: Path) -> None:
    clock = Clock()

    class Stubborn(FakeExecutor):
        """Trial 0 says no more; its checkpoint is written for 60 seconds."""

        def answer(self, number: int, decision: Decision) -> None:
            temporary = StudyPaths(tmp_path / "studies" / "s").trial(0).root / ".checkpoint.7-a.tmp"
            temporary.write_bytes(b"half")

        def next_event(self, timeout_s: float | None = None) -> Event | None:
            clock.now += 0.5
            if self.wound_up and clock.now >= 1004 + 60:
                for left in tmp_path.rglob(".checkpoint.*"):
                    left.unlink()
            return super().next_event(timeout_s) if self._events else None

    stops = StopConditions(timeout_s=4, clock=clock)
    definition = definition_of(space(4), limits={"stop_s": 20})
    executor = Stubborn(flat)
    stop = controller_of(tmp_path, definition, executor, stops=stops, clock=clock).run(1)
    assert stop is not None and executor.wound_up == 1
    assert clock.now == 1004 + 60
