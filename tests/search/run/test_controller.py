import math
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from harness.config import components
from harness.core.errors import StudyStoppedError
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.records import TrialFailure, TrialRecord, TrialResult, read_records
from harness.execution.protocol import (
    Decision,
    EpochReport,
    Event,
    MicroBatchReduced,
    StepReport,
    TrialFailed,
    TrialFinished,
    TrialTask,
    WorkerDied,
    WorkerNotice,
)
from harness.search.storage.storage import open_storage
from tests.search.fakes import FakeExecutor, Silence, controller_of, definition_of

SPACE = {"parameters": {"optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}}}
EPOCHS = 10
MEDIAN = {"pruner": {"name": "median"}}
Rule = Callable[[np.ndarray], dict[int, int]]


def space(epochs: int = EPOCHS) -> dict[str, object]:
    return SPACE | {"fixed": {"train.epochs": epochs}}


def flat(task: TrialTask) -> list[float]:
    return [0.5] * task.config.train.epochs


def trials_of(root: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="s", storage=open_storage(root / "optuna.db")).trials


def crossing_curves(n: int, seed: int) -> np.ndarray:
    """Curves (n, EPOCHS) in (0, 1) that fall at different speeds to different levels."""
    rng = np.random.default_rng(seed)
    level, speed = rng.uniform(0.1, 0.6, (n, 1)), rng.uniform(0.2, 2.0, (n, 1))
    steps = np.arange(1, EPOCHS + 1)
    noise = rng.normal(0, 0.02, (n, EPOCHS))
    return np.clip(level + (1 - level) * np.exp(-speed * steps / 3) + noise, 0.001, 0.999)


def halved_by_hand(curves: np.ndarray) -> dict[int, int]:
    """The default rule in plain words: trial -> epoch after which it is cut.

    After 2 of 10 epochs (an eighth, rounded up), 4 and 8 a trial goes on if its best value so far
    is in the better half of those that trials have had there; the first of all goes on.
    """
    known: dict[int, list[float]] = {2: [], 4: [], 8: []}
    cut: dict[int, int] = {}
    for number, curve in enumerate(curves):
        for epoch, values in known.items():
            own = float(min(curve[:epoch]))
            values.append(own)
            if own not in sorted(values)[: max(1, len(values) // 2)]:
                cut[number] = epoch
                break
    return cut


def pruned_by_hand(curves: np.ndarray) -> dict[int, int]:
    """The median rule in plain words: trial -> epoch after which it is cut.

    No trial is cut before five are complete, none in the first 30 % of its epochs, none after its
    last; then it is cut when its best value so far is worse than the median of the values that the
    complete trials had in the same epoch, if at least five have one.
    """
    complete: list[np.ndarray] = []
    cut: dict[int, int] = {}
    for number, curve in enumerate(curves):
        for epoch in range(1, EPOCHS + 1):
            others = [float(other[epoch - 1]) for other in complete]
            if epoch <= 3 or epoch == EPOCHS or len(others) < 5:
                continue
            if min(curve[:epoch]) > median(others):
                cut[number] = epoch
                break
        else:
            complete.append(curve)
    return cut


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("options", "rule", "most"), [({}, halved_by_hand, 26), (MEDIAN, pruned_by_hand, 25)]
)
def test_pruner_cuts_exactly_the_trials_its_rule_names(
    tmp_path: Path, seed: int, options: dict[str, Any], rule: Rule, most: int
) -> None:
    curves = crossing_curves(30, seed)
    executor = FakeExecutor(lambda task: curves[task.number].tolist())
    controller_of(tmp_path, definition_of(space(), **options), executor).run(30)
    expected = rule(curves)
    got = {
        t.number: (t.last_step or 0) + 1
        for t in trials_of(tmp_path)
        if t.state is TrialState.PRUNED
    }
    assert got == expected
    assert 3 < len(expected) < most, "the curves must make the rule decide both ways"


def test_without_pruner_every_trial_runs_to_its_end(tmp_path: Path) -> None:
    curves = crossing_curves(12, 0)
    executor = FakeExecutor(lambda task: curves[task.number].tolist())
    definition = definition_of(space(), pruner={"name": "none"})
    controller_of(tmp_path, definition, executor).run(12)
    assert len(executor.asked) == 12 * EPOCHS


@pytest.mark.parametrize("name", ["percentile", "halving", "hyperband", "patient"])
def test_every_pruner_cuts_some_and_not_all(tmp_path: Path, name: str) -> None:
    curves = crossing_curves(30, 3)
    curves[20:] = np.linspace(0.95, 0.99, EPOCHS)  # hopeless, and getting worse
    executor = FakeExecutor(lambda task: curves[task.number].tolist())
    definition = definition_of(space(), pruner={"name": name}, sampler={"name": "random"})
    controller_of(tmp_path, definition, executor).run(30)
    states = [trial.state for trial in trials_of(tmp_path)]
    assert TrialState.PRUNED in states[20:]
    assert states.count(TrialState.COMPLETE) >= 3


def test_trials_is_a_total_over_all_runs(tmp_path: Path) -> None:
    for wanted, started in ((3, 3), (3, 0), (5, 2)):
        executor = FakeExecutor(flat)
        controller_of(tmp_path, definition_of(space(2)), executor).run(wanted)
        assert len(executor.started) == started
    assert [trial.number for trial in trials_of(tmp_path)] == [0, 1, 2, 3, 4]


def test_interrupted_study_draws_what_an_undisturbed_one_draws(tmp_path: Path) -> None:
    def curve(task: TrialTask) -> list[float]:
        return [min(1.0, abs(math.log10(task.config.optim.lr) + 3) / 2)] * 2

    def run(root: Path, *stops: int) -> list[dict[str, object]]:
        for stop in stops:
            controller_of(root, definition_of(space(2), seed=7), FakeExecutor(curve)).run(stop)
        return [trial.params for trial in trials_of(root)]

    assert run(tmp_path / "a", 20) == run(tmp_path / "b", 4, 11, 20)


def test_epochs_are_answered_while_slots_are_still_empty(tmp_path: Path) -> None:
    answered_before: list[list[int]] = []

    class Recording(FakeExecutor):
        def start(self, task: TrialTask) -> None:
            answered_before.append(sorted({n for n, epoch in self.asked if epoch > 1}))
            super().start(task)

    executor = Recording(flat, slots=4)
    controller_of(tmp_path, definition_of(space(4)), executor).run(4)
    # Two events of each trial are waiting: its start and its first epoch.
    assert answered_before == [[], [], [0], [0]]


class DyingExecutor(FakeExecutor):
    """Its controller dies (here: an exception) when the given epoch is reported."""

    def __init__(self, number: int, epoch: int) -> None:
        super().__init__(flat)
        self._fatal = (number, epoch)

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        if self.asked[-1] == self._fatal:
            raise KeyboardInterrupt
        return super().next_event(timeout_s)


def test_running_trial_is_adopted_with_number_and_parameters(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        controller_of(tmp_path, definition_of(space(4)), DyingExecutor(1, 3)).run(3)
    before = trials_of(tmp_path)
    assert [trial.state for trial in before] == [TrialState.COMPLETE, TrialState.RUNNING]
    executor = FakeExecutor(flat)
    controller_of(tmp_path, definition_of(space(4)), executor).run(3)
    after = trials_of(tmp_path)
    assert [task.number for task in executor.started] == [1, 2]
    assert executor.started[0].attempt == 2
    assert after[1].params == before[1].params
    assert [trial.state for trial in after] == [TrialState.COMPLETE] * 3
    records = read_records(StudyPaths(tmp_path / "studies" / "s"))
    assert [record.params for record in records] == [trial.params for trial in after]


def test_half_asked_trial_is_completed(tmp_path: Path) -> None:
    """A controller that dies between asking Optuna and writing trial.json leaves an empty row."""
    definition = definition_of(space(1))
    controller = controller_of(tmp_path, definition, FakeExecutor(flat))
    controller._study.ask()
    controller_of(tmp_path, definition, FakeExecutor(flat)).run(2)
    trials = trials_of(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert all("optim.lr" in trial.params for trial in trials)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.5])
def test_value_out_of_range_is_a_diverged_trial_and_never_reaches_optuna(
    tmp_path: Path, value: float
) -> None:
    curves = {0: [0.5, value, 0.1], 1: [0.5, 0.4, 0.3]}
    executor = FakeExecutor(lambda task: curves[task.number])
    controller_of(tmp_path, definition_of(space(3)), executor).run(2)
    bad, good = trials_of(tmp_path)
    assert bad.state is TrialState.FAIL
    assert bad.intermediate_values == {0: 0.5}
    assert good.state is TrialState.COMPLETE and good.value == 0.3
    record = read_records(StudyPaths(tmp_path / "studies" / "s"))[0]
    assert record.failure is not None and record.failure.cause == "diverged"


FULL = TrialFailure(cause="disk_full", message="No space left on device")


@pytest.mark.parametrize(
    "befalls",
    [
        lambda same: WorkerDied(exit_code=-11, log_tail="", **same),
        lambda same: TrialFailed(failure=FULL, **same),
        lambda same: TrialFailed(failure=TrialFailure(cause="crashed", message="x"), **same),
    ],
)
def test_trial_that_diverged_has_failed_whatever_befalls_its_worker_then(
    tmp_path: Path, befalls: Callable[[dict[str, Any]], Event]
) -> None:
    class Lost(FakeExecutor):
        def answer(self, number: int, decision: Decision) -> None:
            if decision != "stop":
                return super().answer(number, decision)
            task = self._tasks.pop(number)
            return self._events.append(befalls({"number": number, "attempt": task.attempt}))

    executor = Lost(lambda task: [0.5, math.nan, 0.1])
    controller_of(tmp_path, definition_of(space(3)), executor).run(1)
    assert executor.asked == [(0, 1), (0, 2)]
    (record,) = read_records(StudyPaths(tmp_path / "studies" / "s"))
    assert record.failure is not None and record.failure.cause == "diverged"


def test_objective_of_the_user_s_own_may_have_any_finite_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components, "_COMPONENTS", {})

    def far(probability: object, truth: object, valid: object) -> float:
        return 0.0

    components.metric(direction="minimize", origin="parts.py")(far)
    definition = definition_of(space(3), objective={"metric": "val/far"})
    curves = {0: [40.0, -2.5, 17.5], 1: [1.0, math.inf, 1.0]}
    controller_of(tmp_path, definition, FakeExecutor(lambda task: curves[task.number])).run(2)
    good, bad = trials_of(tmp_path)
    assert (good.state, good.value) == (TrialState.COMPLETE, -2.5)
    assert bad.state is TrialState.FAIL


class FailingExecutor(FakeExecutor):
    """Every trial fails at once, for the cause that `causes` names by its number."""

    def __init__(self, causes: list[str]) -> None:
        super().__init__(flat)
        self._causes = causes

    def start(self, task: TrialTask) -> None:
        self.started.append(task)
        failure = TrialFailure(cause=self._causes[task.number], message="no", traceback="line")
        self._events.append(TrialFailed(number=task.number, attempt=task.attempt, failure=failure))


def test_same_cause_three_times_in_a_row_stops_the_study(tmp_path: Path) -> None:
    causes = ["crashed", "out_of_memory", "crashed", "crashed", "crashed", "crashed"]
    executor = FailingExecutor(causes)
    controller = controller_of(tmp_path, definition_of(space(3)), executor)
    with pytest.raises(StudyStoppedError, match=r"3 trials in a row .*\(crashed\): no; see .*0004"):
        controller.run(6)
    assert [trial.state for trial in trials_of(tmp_path)] == [TrialState.FAIL] * 5


class VanishingExecutor(FakeExecutor):
    """The worker vanishes in the first `times` attempts of trial 0."""

    def __init__(self, times: int) -> None:
        super().__init__(flat)
        self._times = times

    def start(self, task: TrialTask) -> None:
        if task.number == 0 and task.attempt <= self._times:
            self.started.append(task)
            self._events.append(
                WorkerDied(number=0, attempt=task.attempt, exit_code=-11, log_tail="segfault")
            )
        else:
            super().start(task)


@pytest.mark.parametrize(("times", "state"), [(2, TrialState.COMPLETE), (3, TrialState.FAIL)])
def test_vanished_worker_is_replaced_twice(tmp_path: Path, times: int, state: TrialState) -> None:
    executor = VanishingExecutor(times)
    controller_of(tmp_path, definition_of(space(2)), executor).run(1)
    assert trials_of(tmp_path)[0].state is state
    assert [task.attempt for task in executor.started] == [1, 2, 3]


class Flaky(FakeExecutor):
    """An exception in the given epochs of trial 0, once each; trial 1 ends the controller."""

    def __init__(self, epochs: list[int]) -> None:
        super().__init__(flat)
        self._left = list(epochs)

    def start(self, task: TrialTask) -> None:
        if task.number == 1:
            raise KeyboardInterrupt
        super().start(task)

    def _report(self, task: TrialTask, epoch: int) -> None:
        if self._left[:1] != [epoch] or task.number:
            return super()._report(task, epoch)
        del self._left[0], self._tasks[task.number]
        TrialPaths(task.trial_dir).checkpoint.write_bytes(b"state")
        failure = TrialFailure(cause="crashed", message="OSError: [Errno 5] Input/output error")
        failed = TrialFailed(number=task.number, attempt=task.attempt, failure=failure)
        return self._events.append(failed)


@pytest.mark.parametrize(
    ("epochs", "state", "attempt"),
    [([9], "complete", 2), ([2, 2, 9, 9], "complete", 5), ([9, 9, 9], "failed", 3)],
)
def test_unexpected_exception_gets_the_attempts_of_a_lost_worker(
    tmp_path: Path, epochs: list[int], state: str, attempt: int
) -> None:
    definition = definition_of(space(), pruner={"name": "none"})
    with pytest.raises(KeyboardInterrupt):
        controller_of(tmp_path, definition, Flaky(epochs)).run(2)
    paths = StudyPaths(tmp_path / "studies" / "s")
    record = read_records(paths)[0]
    assert (record.state, record.attempt) == (state, attempt)
    assert paths.trial(0).checkpoint.exists() is (state == "failed")
    controller_of(tmp_path, definition, FakeExecutor(flat)).run(2)
    assert not paths.trial(0).checkpoint.exists(), "the study is at its end"


class Preempted(FakeExecutor):
    """Kills the worker of trial 0 from outside after every epoch of its first `times` attempts."""

    def __init__(self, times: int) -> None:
        super().__init__(flat)
        self._times = times

    def answer(self, number: int, decision: Decision) -> None:
        task = self._tasks[number]
        if number or task.attempt > self._times:
            return super().answer(number, decision)
        del self._tasks[number]
        gone = WorkerDied(number=number, attempt=task.attempt, exit_code=-9, log_tail="")
        return self._events.append(gone)


def test_preempted_trial_continues_whatever_it_takes(tmp_path: Path) -> None:
    executor = Preempted(12)
    controller_of(tmp_path, definition_of(space(3)), executor).run(2)
    assert [trial.state for trial in trials_of(tmp_path)] == [TrialState.COMPLETE] * 2
    assert [task.attempt for task in executor.started] == [*range(1, 14), 1]


class Silent(FakeExecutor):
    """Says nothing after the first epoch of the first `times` attempts; time flies meanwhile."""

    def __init__(self, times: int) -> None:
        super().__init__(flat)
        self._times = times
        self.now = 0.0
        self.waits: list[float | None] = []

    def answer(self, number: int, decision: Decision) -> None:
        if self._tasks[number].attempt > self._times:
            super().answer(number, decision)

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        self.waits.append(timeout_s)
        if self._events:
            return super().next_event(timeout_s)
        assert timeout_s is not None
        self.now += timeout_s
        return None


@pytest.mark.parametrize(("times", "state"), [(2, TrialState.COMPLETE), (3, TrialState.FAIL)])
def test_silent_worker_is_replaced_twice(tmp_path: Path, times: int, state: TrialState) -> None:
    executor = Silent(times)
    definition = definition_of(space(2), limits={"hang_floor_s": 30})
    controller_of(tmp_path, definition, executor, clock=lambda: executor.now).run(1)
    assert trials_of(tmp_path)[0].state is state
    assert executor.now == times * 30
    record = read_records(StudyPaths(tmp_path / "studies" / "s"))[0]
    if state is TrialState.FAIL:
        assert record.failure is not None and record.failure.cause == "hung"
        assert record.failure.traceback == "the stacks"


def test_reports_of_an_earlier_attempt_change_nothing(tmp_path: Path) -> None:
    """Its worker was stopped, given up, and woken: whatever it says comes too late."""
    late = {"number": 0, "attempt": 1}
    executor = Silent(1)
    start = executor.start

    def start_and_wake(task: TrialTask) -> None:
        if task.attempt == 2:
            executor._events += [
                EpochReport(metrics={"epoch": 2, "val/dice_loss": 0.01}, **late),
                MicroBatchReduced(micro_batch=1, **late),
                TrialFailed(failure=TrialFailure(cause="crashed", message="no"), **late),
                TrialFinished(
                    result=TrialResult(
                        outcome="complete", value=0.01, best_epoch=2, best={}, costs={}
                    ),
                    **late,
                ),
                WorkerDied(exit_code=-9, log_tail="", **late),
            ]
        start(task)

    executor.start = start_and_wake  # type: ignore[method-assign]
    controller_of(tmp_path, definition_of(space(2)), executor, clock=lambda: executor.now).run(1)
    (trial,) = trials_of(tmp_path)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.5)
    assert trial.intermediate_values == {0: 0.5, 1: 0.5}
    (record,) = read_records(StudyPaths(tmp_path / "studies" / "s"))
    assert (record.attempt, record.micro_batch, record.failure) == (2, None, None)


class Squeezing(FakeExecutor):
    """Runs out of memory in the first attempt, and loses that one."""

    def start(self, task: TrialTask) -> None:
        super().start(task)
        if task.attempt == 1:
            self._events.clear()
            del self._tasks[task.number]
            same = {"number": task.number, "attempt": 1}
            self._events.append(MicroBatchReduced(micro_batch=2, **same))
            self._events.append(WorkerDied(exit_code=-15, log_tail="", **same))


def test_what_memory_held_is_recorded_and_given_to_the_next_attempt(tmp_path: Path) -> None:
    executor = Squeezing(flat)
    controller_of(tmp_path, definition_of(space(2)), executor).run(1)
    assert [task.micro_batch for task in executor.started] == [None, 2]
    (record,) = read_records(StudyPaths(tmp_path / "studies" / "s"))
    assert record.micro_batch == 2 and record.state == "complete"


class Noticing(FakeExecutor):
    """Sends a sentence about each trial; every second trial has another one."""

    def start(self, task: TrialTask) -> None:
        text = f"reason {task.number % 2}"
        self._events.append(WorkerNotice(number=task.number, attempt=task.attempt, text=text))
        super().start(task)


class Listening(Silence):
    """Keeps the lines of the command."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def stage(self, text: str) -> None:
        self.lines.append(text)


class Stepping(FakeExecutor):
    """Reports a step of each trial before its epochs."""

    def start(self, task: TrialTask) -> None:
        same = {"number": task.number, "attempt": task.attempt}
        self._events.append(StepReport(epoch=1, step=3, n_steps=9, loss=0.25, **same))
        super().start(task)


class Counting(Silence):
    """Keeps the reported steps."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, ...]] = []

    def step(self, record: TrialRecord, epoch: int, step: int, n_steps: int, loss: float) -> None:
        self.steps.append((record.number, epoch, step, n_steps, loss))


def test_steps_within_an_epoch_are_shown(tmp_path: Path) -> None:
    shown = Counting()
    controller_of(tmp_path, definition_of(space(1)), Stepping(flat), shown).run(2)
    assert shown.steps == [(0, 1, 3, 9, 0.25), (1, 1, 3, 9, 0.25)]


def test_sentence_of_a_worker_is_shown_once(tmp_path: Path) -> None:
    shown = Listening()
    controller_of(tmp_path, definition_of(space(1)), Noticing(flat), shown).run(4)
    assert [line for line in shown.lines if "reason" in line] == ["reason 0", "reason 1"]


def test_grid_counts_every_configuration_once_and_ends(tmp_path: Path) -> None:
    grid = {
        "parameters": {
            "model.encoder_depth": {"low": 3, "high": 5},
            "train.batch_size": {"choices": [4, 8]},
        },
        "fixed": {"train.epochs": 1},
        "forbid": [{"model.encoder_depth": 3, "train.batch_size": 8}],
    }
    definition = definition_of(grid, sampler={"name": "grid"})
    controller_of(tmp_path, definition, FakeExecutor(flat)).run(2)
    controller_of(tmp_path, definition, FakeExecutor(flat)).run(100)
    drawn = [tuple(trial.params.values()) for trial in trials_of(tmp_path)]
    assert sorted(drawn) == [(3, 4), (4, 4), (4, 8), (5, 4), (5, 8)]


def test_enqueued_rows_come_first_and_once(tmp_path: Path) -> None:
    rows = space(1) | {"enqueue": [{"optim.lr": 3e-4}, {"optim.lr": 5e-3}]}
    for wanted in (1, 3):
        controller_of(tmp_path, definition_of(rows), FakeExecutor(flat)).run(wanted)
    rates = [trial.params["optim.lr"] for trial in trials_of(tmp_path)]
    assert rates[:2] == [3e-4, 5e-3]
    assert rates[2] not in (3e-4, 5e-3)


def test_every_change_is_noted_for_the_mirror(tmp_path: Path) -> None:
    silence = Silence()
    controller_of(tmp_path, definition_of(space(2)), FakeExecutor(flat), silence).run(2)
    assert silence.noted == [0, 0, 0, 0, 1, 1, 1, 1]  # handed out, two epochs, ended
