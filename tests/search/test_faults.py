"""Whole studies, really trained, in which everything goes wrong that can be made to."""

import json
import random
import threading
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.api import Study, run_study
from harness.core.records import read_epochs
from harness.execution.local_executor import LocalExecutor
from harness.execution.protocol import EpochReport, Event
from harness.execution.slots import Slot
from harness.search.run.hang_detector import HangWatch
from tests.conftest import TINY
from tests.execution.forking import forking

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def study(workspace: Path, data: Path, trials: int, **fixed: Any) -> Study:
    space = {"parameters": TINY["parameters"], "fixed": {**TINY["fixed"], **fixed}}
    return run_study(
        "s",
        space=space,
        data=data,
        trials=trials,
        sampler="random",
        pruner="none",
        workers=2,
        workspace=workspace,
    )


def test_every_failure_is_sorted_and_the_study_finishes(
    workspace: Path, polyps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 of 24 images train, 8 in a batch: step 3 is the first of the second epoch."""
    always, once = 99, 1
    faults = {
        0: ["oom", 3, always],
        1: ["nan", 3, always],
        2: ["segfault", 3, always],
        3: ["exit", 3, once],
        4: ["sleep", 3, always],
        5: ["oom", 0, always],
        6: ["memory", 3, once],
        7: ["memory", 3, always],
    }
    watch = partial(HangWatch, 5.0)
    monkeypatch.setattr("harness.search.run.controller.HangWatch", lambda _, clock: watch(clock))
    with forking(workspace, FAULTS=json.dumps(faults)) as module:
        monkeypatch.setattr(
            "harness.search.run.run.LocalExecutor", partial(LocalExecutor, module=module)
        )
        done = study(workspace, polyps, 9)
    records = {record.number: record for record in done.tables.records}
    assert {n: r.failure.cause if r.failure else r.state for n, r in records.items()} == {
        0: "complete",
        1: "diverged",
        2: "crashed",
        3: "complete",
        4: "hung",
        5: "out_of_memory",
        6: "complete",
        7: "host_out_of_memory",
        8: "complete",
    }
    assert {n: r.attempt for n, r in records.items()} == {
        0: 1, 1: 1, 2: 3, 3: 2, 4: 3, 5: 1, 6: 2, 7: 2, 8: 1,
    }  # fmt: skip
    assert records[0].micro_batch == 2, "8, 4, 2"
    segfault = records[2].failure
    assert segfault is not None and segfault.traceback is not None
    assert "SIGSEGV" in segfault.message and "watched_step" in segfault.traceback
    for number in (0, 3, 6, 8):
        epochs = [line["epoch"] for line in read_epochs(done.paths.trial(number))]
        assert epochs == [1, 2]


class StormExecutor(LocalExecutor):
    """Kills a worker after each of `kills` new epochs, at a seeded moment of the next ones."""

    def __init__(self, log: Any, *, slots: Sequence[Slot], module: str, kills: int) -> None:
        super().__init__(log, slots=slots, module=module)
        self._random = random.Random(11)
        self._fatal = set(self._random.sample(range(1, 230), kills))
        self._epochs: set[tuple[int, int]] = set()
        self._timers: list[threading.Timer] = []
        self.killed = 0

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        event = super().next_event(timeout_s)
        if isinstance(event, EpochReport) and (event.number, event.epoch) not in self._epochs:
            self._epochs.add((event.number, event.epoch))
            if len(self._epochs) in self._fatal:
                self._kill_soon(event.number)
        return event

    def _kill_soon(self, number: int) -> None:
        for held in self._workers_of(number):
            assert held._process is not None
            self.killed += 1
            delay_s = self._random.uniform(0, 0.4)
            self._timers.append(threading.Timer(delay_s, held._process.kill))
            self._timers[-1].start()

    def close(self) -> None:
        for timer in self._timers:
            timer.join()
        super().close()


def test_storm_of_kills_costs_an_epoch_each_and_nothing_else(
    workspace: Path, polyps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_trials, n_epochs, n_kills = 12, 20, 25
    storms: list[StormExecutor] = []

    def storm(log: Any, *, slots: Sequence[Slot], prestarted: None) -> StormExecutor:
        storms.append(StormExecutor(log, slots=slots, module=module, kills=n_kills))
        return storms[-1]

    with forking(workspace, TRAINED=str(workspace / "trained")) as module:
        monkeypatch.setattr("harness.search.run.run.LocalExecutor", storm)
        settings = {"train.epochs": n_epochs, "train.checkpoint_s": 0}
        done = study(workspace, polyps, n_trials, **settings)
    assert [s.killed for s in storms] == [n_kills]
    assert [record.state for record in done.tables.records] == ["complete"] * n_trials
    assert len(done.trials) == n_trials
    for number in range(n_trials):
        lines = (done.paths.trial(number).epochs_jsonl).read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [*range(1, n_epochs + 1)]
    trained = Counter((workspace / "trained").read_text().splitlines())
    assert len(trained) == n_trials * n_epochs
    assert trained.total() - len(trained) <= n_kills
    assert sum(record.attempt - 1 for record in done.tables.records) > n_kills / 2


def test_warm_worker_trains_as_a_fresh_one(workspace: Path, polyps: Path) -> None:
    """Trial 1, once after trial 0 in the same process, once alone in its own."""
    curves = []
    for name, calls in (("warm", [2]), ("fresh", [1, 2])):
        (workspace / name).mkdir()
        with forking(workspace / name) as module, pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "harness.search.run.run.LocalExecutor", partial(LocalExecutor, module=module)
            )
            for trials in calls:
                done = run_study(
                    "s",
                    space=TINY,
                    data=polyps,
                    trials=trials,
                    pruner="none",
                    device="cpu",
                    workspace=workspace / name,
                )
        lines = read_epochs(done.paths.trial(1))
        curves.append(
            [{k: v for k, v in x.items() if k not in ("time_ms", "seconds")} for x in lines]
        )
    assert curves[0] == curves[1] and len(curves[0]) == 2
