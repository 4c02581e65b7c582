"""Signals, time and budgets end a study early; what was running is left to be continued."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from harness.core.errors import StudyInterrupted
from harness.core.paths import StudyPaths
from harness.core.records import read_records
from harness.execution.protocol import Event, TrialTask, WorkerDied
from harness.search.run.budget import BudgetUsage
from harness.search.run.stop_conditions import StopConditions, StopSignals
from tests.search.fakes import FakeExecutor, controller_of, definition_of
from tests.search.run.test_controller import flat, space, trials_of


def paths_of(root: Path) -> StudyPaths:
    return StudyPaths(root / "studies" / "s")


class InterruptingExecutor(FakeExecutor):
    """A signal arrives when the given epoch of trial 1 has been reported."""

    def __init__(self, number: int = signal.SIGTERM, epoch: int = 2, times: int = 1) -> None:
        super().__init__(flat)
        self._signal, self._epoch, self._times = number, epoch, times

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        if self.asked[-1] == (1, self._epoch) and self._times:
            self._times -= 1
            os.kill(os.getpid(), self._signal)
            return None
        return super().next_event(timeout_s)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_first_signal_winds_up_and_leaves_the_trial_to_be_continued(
    tmp_path: Path, number: signal.Signals
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
    signals = StopSignals()
    executor = InterruptingExecutor(number)
    definition = definition_of(space(4))
    stops = StopConditions(signals=signals)
    controller = controller_of(tmp_path, definition, executor, stops=stops)
    with signals.handle_signals(), stops.defer_first_signal():
        stop = controller.run(3)
    assert stop is not None and stop.signal == number and number.name in stop.line
    assert executor.wound_up == 1
    assert executor.asked[-1] == (1, 2), "no epoch is begun after it"
    assert [t.state for t in trials_of(tmp_path)] == [TrialState.COMPLETE, TrialState.RUNNING]
    assert [r.state for r in read_records(paths_of(tmp_path))] == ["complete", "running"]
    again = FakeExecutor(flat)
    assert controller_of(tmp_path, definition, again).run(3) is None
    assert [(task.number, task.attempt) for task in again.started] == [(1, 2), (2, 1)]
    assert [t.state for t in trials_of(tmp_path)] == [TrialState.COMPLETE] * 3


def test_second_signal_leaves_at_once(tmp_path: Path) -> None:
    signals = StopSignals()
    stops = StopConditions(signals=signals)
    executor = InterruptingExecutor(times=2)
    controller = controller_of(tmp_path, definition_of(space(4)), executor, stops=stops)
    with (
        pytest.raises(StudyInterrupted) as left,
        signals.handle_signals(),
        stops.defer_first_signal(),
    ):
        controller.run(3)
    assert left.value.exit_code == 143
    assert [r.state for r in read_records(paths_of(tmp_path))] == ["complete", "running"]


def test_before_training_the_first_signal_leaves_at_once() -> None:
    signals = StopSignals()
    with pytest.raises(StudyInterrupted, match="SIGUSR1"), signals.handle_signals():
        os.kill(os.getpid(), signal.SIGUSR1)
    assert signals.first_signal is None


def test_handlers_are_given_back_and_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    term = signal.getsignal(signal.SIGTERM)
    try:
        with StopSignals().handle_signals():
            assert signal.getsignal(signal.SIGTERM) != term
            os.kill(os.getpid(), signal.SIGUSR2)
        assert signal.getsignal(signal.SIGTERM) == term
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_worker_that_vanishes_while_the_study_winds_up_is_not_replaced(tmp_path: Path) -> None:
    class Vanishing(InterruptingExecutor):
        def request_stop(self) -> None:
            super().request_stop()
            self._events.clear()
            task = self._tasks.pop(1)
            self._events.append(
                WorkerDied(number=1, attempt=task.attempt, exit_code=-9, log_tail="")
            )

    signals = StopSignals()
    stops = StopConditions(signals=signals)
    executor = Vanishing()
    controller = controller_of(tmp_path, definition_of(space(4)), executor, stops=stops)
    with signals.handle_signals(), stops.defer_first_signal():
        controller.run(3)
    assert [task.number for task in executor.started] == [0, 1]
    assert read_records(paths_of(tmp_path))[1].state == "running"


def test_timeout_winds_up(tmp_path: Path) -> None:
    now = [100.0]

    def curve(task: TrialTask) -> list[float]:
        now[0] += 1
        return flat(task)

    stops = StopConditions(timeout_s=4, clock=lambda: now[0])
    executor = FakeExecutor(curve)
    stop = controller_of(tmp_path, definition_of(space(4)), executor, stops=stops).run(50)
    assert stop is not None and stop.line == "--timeout: the limit of 4 s is reached"
    assert stop.signal is None and executor.wound_up == 1
    assert trials_of(tmp_path)[-1].state is TrialState.RUNNING


class CostlyExecutor(FakeExecutor):
    """Every epoch takes half an hour."""

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        event = super().next_event(timeout_s)
        if event is not None and event.kind == "epoch":
            metrics = event.metrics | {"seconds": 1800.0}
            return event.model_copy(update={"metrics": metrics})
        return event


def spend(root: Path, executor: FakeExecutor, trials: int, **budget: Any) -> str | None:
    definition = definition_of(space(4), budget=budget)
    stops = StopConditions()
    stops.budget_usage = BudgetUsage(paths_of(root), definition.config)
    stop = controller_of(root, definition, executor, stops=stops).run(trials)
    return None if stop is None else stop.line


def test_gpu_hours_are_a_total_and_end_the_study(tmp_path: Path) -> None:
    executor = CostlyExecutor(flat)
    line = spend(tmp_path, executor, 10, gpu_hours=3.0)
    assert line is not None and line.startswith(
        "budget.gpu_hours: all 3 hours are used (3.00); raise it in"
    )
    assert line.endswith("study.yaml to continue")
    assert executor.asked == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2), (1, 3)]


def test_hours_of_earlier_runs_count_and_repeated_epochs_count_once(tmp_path: Path) -> None:
    controller_of(tmp_path, definition_of(space(4)), FakeExecutor(flat)).run(2)
    log = paths_of(tmp_path).trial(0).epochs_jsonl
    log.write_text(log.read_text().replace('"time_ms"', '"seconds": 900, "time_ms"'))
    definition = definition_of(space(4), budget={"gpu_hours": 1.0})
    spending = BudgetUsage(paths_of(tmp_path), definition.config)
    assert spending.hours == 1.0
    assert spending.hours_message() is not None
    for _ in range(3):
        spending.add_epoch(7, {"epoch": 1, "seconds": 1800.0})
    assert spending.hours == 1.5


def test_stop_after_counts_trials_that_do_not_improve(tmp_path: Path) -> None:
    level = [0.5, 0.6, 0.4, 0.4, 0.7, 0.9, 0.1]  # the best is trial 2; an equal one is no better
    executor = FakeExecutor(lambda task: [level[task.number]] * 4)
    line = spend(tmp_path, executor, 7, stop_after=3)
    assert [task.number for task in executor.started] == [0, 1, 2, 3, 4, 5]
    assert line is not None and line.startswith("budget.stop_after: 3 trials without improvement")
    assert executor.wound_up == 0
    idle = FakeExecutor(flat)
    assert spend(tmp_path, idle, 7, stop_after=3) == line
    assert idle.started == []
    more = FakeExecutor(lambda task: [level[task.number]] * 4)
    assert spend(tmp_path, more, 7, stop_after=4) is None
    assert [task.number for task in more.started] == [6]


def test_failed_trials_are_no_evidence_that_nothing_improves(tmp_path: Path) -> None:
    curves = [[0.5] * 4, [float("nan")], [float("nan")], [0.6] * 4]
    line = spend(tmp_path, FakeExecutor(lambda task: curves[task.number]), 4, stop_after=2)
    assert line is None
    assert len(trials_of(tmp_path)) == 4


def test_nothing_is_said_to_have_run_out_when_all_trials_are_finished(tmp_path: Path) -> None:
    assert spend(tmp_path, FakeExecutor(flat), 3, stop_after=2) is None
    assert spend(tmp_path, FakeExecutor(flat), 3, stop_after=2) is None
