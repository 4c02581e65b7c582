"""Replay recorded learning curves through the harness's controller, without training."""

import json
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.storages import InMemoryStorage

from benchmarks.recorded import Table
from harness.config.study import StudyConfig, TrialConfig
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
from harness.search.run.second_chances import reopen_stopped_trials
from harness.search.run.stop_conditions import StopConditions, StopReason
from harness.search.run.trials import TrialContext
from harness.search.storage.rebuild import add_missing_trials
from harness.space.reading.load_space import space_from_dict
from harness.space.space import AllowedValues

MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Played:
    """One trial of a replay: the network that it was mapped to, its epochs and its end."""

    network: int
    epochs: int
    complete: bool


def replay(
    table: Table,
    settings: dict[str, Any],
    *,
    seed: int,
    trials: int,
    epochs: int | None = None,
    pruner: BasePruner | None = None,
) -> list[Played]:
    """Run one study on the table through the real controller.

    Args:
        settings: keys of study.yaml: sampler, pruner, budget.
        seed: the study's.
        trials: after so many it ends, or when the table has no unused network.
        epochs: after so many in all it ends too; the trial that runs then counts as not complete.
        pruner: one that study.yaml does not know, in place of its own.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = space_from_dict(table.space(), source="the recorded space", legal=AllowedValues())
    direction = "minimize" if table.minimized else "maximize"
    objective = {"metric": table.metric, "direction": direction}
    # Second chances have to be asked for: most arms compare pruners alone.
    budget = {"second_chances": 0.0} | settings.get("budget", {})
    given = {"id": "0" * 32, "fixed": dict(space.fixed), "seed": seed, "objective": objective}
    definition = StudyDefinition(
        StudyConfig.from_mapping(given | settings | {"budget": budget}), space, is_started=False
    )
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="replay", direction=direction)
    executor = Player(table)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        root, silence = Path(folder), Silence()
        paths = StudyPaths(root / "replay")

        def run(study: optuna.Study, limit: int | None) -> StopReason | None:
            controller = Controller(
                study,
                storage,
                definition,
                TrialContext(paths, root, root, "cpu"),
                executor,
                progress=silence,
                mirror=silence,
                environment=EnvironmentInfo({}, None),
                clock=lambda: 0.0,
                stop_conditions=_Spent(executor, limit),
            )
            if pruner is not None:
                controller._pruning.build_pruner = lambda *_: pruner
            return controller.run(min(trials, len(table.ids)))

        share = definition.config.budget.second_chances
        run(study, None if epochs is None else int(epochs * (1 - share)))
        reopened = reopen_stopped_trials(paths, definition.config) if share else []
        if reopened or (share and epochs is not None):  # what is left goes to new trials
            again = optuna.create_study(storage=storage, study_name="again", direction=direction)
            add_missing_trials(again, paths, definition)
            run(again, epochs)
    return executor.played


class Player:
    """Executor with one slot that gives each trial the curve of the nearest unused network.

    Attributes:
        played: the trials that have ended, in order.
        spent: epochs charged so far.
    """

    slots = 1
    waiting: frozenset[int] = frozenset()

    def __init__(self, table: Table) -> None:
        self._table = table
        self._used: set[int] = set()
        self._events: deque[Event] = deque()
        self._task: TrialTask | None = None
        self._network = self._epoch = self._free = 0
        self._networks: dict[int, int] = {}
        self._trained: dict[int, int] = {}  # epochs of each trial
        self.played: list[Played] = []
        self.spent = 0

    @property
    def is_between(self) -> bool:
        """True if the next event is an epoch, or if there is none."""
        return not self._events or isinstance(self._events[0], EpochReport)

    def start(self, task: TrialTask) -> None:
        self._task, self._epoch = task, 0
        # A second chance continues the network of the stopped trial, whose epochs are reported
        # again without a charge.
        self._free = self._trained.get(task.number, 0)
        if task.number not in self._networks:
            nearest = self._table.nearest(task.config.flat(), self._used)
            self._networks[task.number] = nearest
            self._used.add(nearest)
        self._network = self._networks[task.number]
        same: dict[str, Any] = {"number": task.number, "attempt": task.attempt}
        self._events.append(TrialStarted(device="recorded", precision="fp32", **same))
        self._train()

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        if not self._events:
            return None
        event = self._events.popleft()
        if isinstance(event, EpochReport):
            self.spent += int(event.metrics["epoch"]) > self._free
        return event

    def answer(self, number: int, decision: Decision) -> None:
        self._epoch += 1
        if decision == "continue" and self._epoch < self._table.epochs:
            self._train()
        else:
            self._end("pruned" if decision == "prune" else "complete")

    def request_stop(self) -> None:
        self._events.clear()
        if self._task is not None:
            self._end("stopped")

    def kill_trial(self, number: int) -> str:
        raise AssertionError(f"trial {number} cannot be silent: it is played")

    def close(self) -> None:
        self._task = None

    def _train(self) -> None:
        assert self._task is not None
        value = float(self._table.curves[self._network, self._epoch])
        metrics = {"epoch": self._epoch + 1, self._task.objective.metric: value}
        if self._epoch + 1 > self._free:
            log = TrialPaths(self._task.trial_dir).epochs_jsonl
            with log.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(metrics) + "\n")
        self._events.append(
            EpochReport(number=self._task.number, attempt=self._task.attempt, metrics=metrics)
        )

    def _end(self, outcome: Any) -> None:
        assert self._task is not None
        seen = self._table.losses[self._network, : self._epoch]
        best = int(seen.argmin()) if len(seen) else None
        value = None if best is None else float(self._table.curves[self._network, best])
        ended = TrialFinished(
            number=self._task.number,
            attempt=self._task.attempt,
            result=TrialResult(
                outcome=outcome,
                value=value,
                best_epoch=None if best is None else best + 1,
                best={},
                costs={},
            ),
        )
        self._events.append(ended)
        charged = self._epoch - self._free
        self.played.append(Played(self._network, charged, outcome == "complete"))
        self._trained[self._task.number] = max(self._epoch, self._free)
        if outcome == "pruned":
            TrialPaths(self._task.trial_dir).checkpoint.touch()  # it could be continued
        self._task = None


class _Spent(StopConditions):
    """Stop condition: a total number of epochs."""

    def __init__(self, player: Player, epochs: int | None) -> None:
        super().__init__()
        self._player, self._epochs = player, epochs

    def check(self) -> StopReason | None:
        spent = self._epochs is not None and self._player.spent >= self._epochs
        return StopReason("all epochs are spent") if spent and self._player.is_between else None


class Silence:
    """Progress reporter that discards everything."""

    def stage(self, text: str) -> None: ...

    def bar(self, text: str) -> Any:
        return lambda done, total: None

    def trials(self, finished: int, total: int) -> None: ...

    def began(self, record: TrialRecord, config: TrialConfig, *, continued: bool) -> None: ...

    def step(
        self, record: TrialRecord, epoch: int, step: int, n_steps: int, loss: float
    ) -> None: ...

    def epoch(self, record: TrialRecord, metrics: dict[str, float]) -> None: ...

    def ended(self, record: TrialRecord, best: TrialRecord | None) -> None: ...

    def close(self) -> None: ...

    def note(self, number: int) -> None: ...
