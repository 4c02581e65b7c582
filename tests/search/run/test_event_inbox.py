"""Workers that hang are found by the clock, however much the others report."""

from pathlib import Path

import pytest

from harness.core.paths import StudyPaths
from harness.core.records import read_records
from harness.execution.protocol import Decision, Event, TrialTask
from harness.search.run.stop_conditions import StopConditions
from tests.search.fakes import FakeExecutor, controller_of, definition_of
from tests.search.run.test_controller import flat, space

FLOOR_S = 10.0


class OneHangs(FakeExecutor):
    """Trial 0 reports nothing after its first epoch; the other slot has an event each 0.4 s."""

    def __init__(self) -> None:
        super().__init__(flat, slots=2)
        self.now = 0.0
        self.abandoned: list[tuple[int, float]] = []

    def answer(self, number: int, decision: Decision) -> None:
        if number != 0:
            super().answer(number, decision)

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        assert timeout_s is not None
        if not self._events:
            self.now += timeout_s
            return None
        self.now += 0.4
        return super().next_event(timeout_s)

    def kill_trial(self, number: int) -> str:
        self.abandoned.append((number, self.now))
        return super().kill_trial(number)


def test_worker_that_hangs_is_found_while_others_report(tmp_path: Path) -> None:
    executor = OneHangs()
    definition = definition_of(space(4), pruner={"name": "none"}, limits={"hang_floor_s": FLOOR_S})
    controller_of(tmp_path, definition, executor, clock=lambda: executor.now).run(60)
    assert [number for number, _ in executor.abandoned] == [0, 0, 0]
    first = executor.abandoned[0][1]
    assert FLOOR_S <= first < 2 * FLOOR_S, "at the floor, not when the others had ended"
    record = read_records(StudyPaths(tmp_path / "studies" / "s"))[0]
    assert record.failure is not None and record.failure.cause == "hung"


class Waiting(FakeExecutor):
    """Trial 1 reports while the controller answers trial 0 for a long time."""

    def __init__(self) -> None:
        super().__init__(flat, slots=2)
        self.now = 0.0

    def answer(self, number: int, decision: Decision) -> None:
        if self.asked.count((0, 2)) == 1 and number == 0:
            self.now += 100 * FLOOR_S  # a database that answers slowly
        super().answer(number, decision)

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        return super().next_event(timeout_s) if self._events else None

    def kill_trial(self, number: int) -> str:
        raise AssertionError(f"trial {number} did not hang")


def test_report_that_waited_for_the_controller_is_a_sign_of_life(tmp_path: Path) -> None:
    executor = Waiting()
    definition = definition_of(space(4), pruner={"name": "none"}, limits={"hang_floor_s": FLOOR_S})
    controller_of(tmp_path, definition, executor, clock=lambda: executor.now).run(2)
    records = read_records(StudyPaths(tmp_path / "studies" / "s"))
    assert [(record.state, record.attempt) for record in records] == [("complete", 1)] * 2


@pytest.mark.parametrize("talks", [True, False])
def test_timeout_is_noticed_whether_or_not_events_come(tmp_path: Path, talks: bool) -> None:
    now = [0.0]

    class Clocked(FakeExecutor):
        def _report(self, task: TrialTask, epoch: int) -> None:
            if talks or epoch == 1:
                super()._report(task, epoch)

        def next_event(self, timeout_s: float | None = None) -> Event | None:
            now[0] += 0.5
            return super().next_event(timeout_s) if self._events else None

    stops = StopConditions(timeout_s=6, clock=lambda: now[0])
    executor = Clocked(flat)
    definition = definition_of(space(4), limits={"hang_floor_s": 1000, "stop_s": 5})
    controller = controller_of(tmp_path, definition, executor, stops=stops, clock=lambda: now[0])
    stop = controller.run(50)
    assert stop is not None and stop.line == "--timeout: the limit of 6 s is reached"
    assert now[0] <= 6 + 5 + 1
