"""An executor that trains nothing: it plays learning curves from a script."""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage

from harness.config.study import PrunerConfig, StudyConfig
from harness.core import files
from harness.core.environment import EnvironmentInfo
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.records import TrialRecord, TrialResult
from harness.execution.protocol import (
    Decision,
    EpochReport,
    Event,
    TrialFinished,
    TrialStarted,
    TrialTask,
)
from harness.search.definition.definition import StudyDefinition
from harness.search.run.controller import Controller
from harness.search.run.disk_space import DiskSpaceGuard
from harness.search.run.stop_conditions import StopConditions
from harness.search.run.trials import TrialContext
from harness.search.storage.optuna_study import open_optuna_study
from harness.search.storage.storage import open_storage
from harness.space.reading.load_space import space_from_dict
from harness.space.space import AllowedValues

Curve = Sequence[float]
STUDY_ID = "0123456789abcdef0123456789abcdef"


class FakeExecutor:
    """Plays `curve(task)` as the objective, one value per epoch, obeying the answers.

    `started` is every task that was handed out, `asked` every (number, epoch) that was reported.
    """

    def __init__(self, curve: Callable[[TrialTask], Curve], *, slots: int = 1) -> None:
        self._curve = curve
        self._slots = slots
        self._events: deque[Event] = deque()
        self._tasks: dict[int, TrialTask] = {}
        self.started: list[TrialTask] = []
        self.asked: list[tuple[int, int]] = []
        self.wound_up = 0

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def waiting(self) -> frozenset[int]:
        return frozenset()

    def start(self, task: TrialTask) -> None:
        assert len(self._tasks) < self._slots, "more trials than slots"
        self.started.append(task)
        self._tasks[task.number] = task
        same: dict[str, Any] = {"number": task.number, "attempt": task.attempt}
        self._events.append(TrialStarted(device="fake", precision="fp32", **same))
        self._report(task, 1)

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        assert self._events, "waiting for an event that will never come"
        return self._events.popleft()

    def answer(self, number: int, decision: Decision) -> None:
        task = self._tasks[number]
        epoch = [e for n, e in self.asked if n == number][-1]
        if decision == "continue" and epoch < len(self._curve(task)):
            self._report(task, epoch + 1)
        else:
            self._end(task, epoch, decision)

    def kill_trial(self, number: int) -> str:
        self._tasks.pop(number, None)
        return "the stacks"

    def request_stop(self) -> None:
        self.wound_up += 1

    def close(self) -> None:
        self._tasks.clear()

    def _report(self, task: TrialTask, epoch: int) -> None:
        self.asked.append((task.number, epoch))
        value = self._curve(task)[epoch - 1]
        line = {"epoch": epoch, "time_ms": 1_790_000_000_000 + epoch, task.objective.metric: value}
        if math.isfinite(value):
            files.append_jsonl(TrialPaths(task.trial_dir).epochs_jsonl, line)
        self._events.append(EpochReport(number=task.number, attempt=task.attempt, metrics=line))

    def _end(self, task: TrialTask, epoch: int, decision: Decision) -> None:
        del self._tasks[task.number]
        outcomes = {"continue": "complete", "prune": "pruned", "stop": "stopped"}
        seen = self._curve(task)[:epoch]
        value = min(seen)
        self._events.append(
            TrialFinished(
                number=task.number,
                attempt=task.attempt,
                result=TrialResult(
                    outcome=outcomes[decision],  # type: ignore[arg-type]
                    value=value,
                    best_epoch=list(seen).index(value) + 1,
                    best={"best/dice_loss": value},
                    costs={"cost/seconds": 1.0},
                ),
            )
        )


class Silence:
    """Silent progress reporter that keeps its lines for tests."""

    def __init__(self) -> None:
        self.ended_records: list[TrialRecord] = []
        self.noted: list[int] = []

    def stage(self, text: str) -> None: ...

    def bar(self, text: str) -> Callable[[int, int | None], None]:
        return lambda done, total: None

    def trials(self, finished: int, total: int) -> None: ...

    def began(self, record: TrialRecord, config: Any, *, continued: bool) -> None: ...

    def step(
        self, record: TrialRecord, epoch: int, step: int, n_steps: int, loss: float
    ) -> None: ...

    def epoch(self, record: TrialRecord, metrics: dict[str, float]) -> None: ...

    def ended(self, record: TrialRecord, best: TrialRecord | None) -> None:
        self.ended_records.append(record)

    def close(self) -> None: ...

    def note(self, number: int) -> None:
        self.noted.append(number)


def definition_of(space: dict[str, Any], **settings: Any) -> StudyDefinition:
    """A study over that space; `settings` are keys of study.yaml."""
    read = space_from_dict(space, source="space", legal=AllowedValues())
    settings = {"id": STUDY_ID, "fixed": dict(read.fixed)} | settings
    return StudyDefinition(StudyConfig.from_mapping(settings), read, is_started=False)


def controller_of(
    root: Path,
    definition: StudyDefinition,
    executor: FakeExecutor,
    silence: Silence | None = None,
    refuse: Callable[[Mapping[str, Any]], str | None] = lambda _: None,
    clock: Callable[[], float] = lambda: 0.0,
    stops: StopConditions | None = None,
    room: DiskSpaceGuard | None = None,
    storage: RDBStorage | None = None,
) -> Controller:
    """A controller of study `s` in the workspace `root`, as launch would make it."""
    paths = StudyPaths(root / "studies" / "s")
    storage = storage or open_storage(root / "optuna.db")
    study = open_optuna_study(storage, "s", definition.config)
    silence = silence or Silence()
    return Controller(
        study,
        storage,
        definition,
        TrialContext(paths, root / "data", root / "cache", "cpu"),
        executor,
        progress=silence,
        mirror=silence,
        environment=EnvironmentInfo({"python": "3"}, None),
        refuse=refuse,
        clock=clock,
        stop_conditions=stops,
        disk_guard=room,
    )


def pruner_settings(**options: Any) -> dict[str, Any]:
    return PrunerConfig(**options).model_dump(mode="json")
