"""Measure the controller of a long study: memory, seconds per trial and milliseconds per ask.

    python -m benchmarks.many_trials [--trials 2000] [--seconds 0.05] [--epochs 1] [--workers 2]
                                     [--sampler tpe] [--no-mlflow]

Workers sleep instead of training; database, records and MLflow are real. The column "workers busy"
is the share of their time in which the workers slept, that is, "trained".
"""

import argparse
import math
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.replaying import Silence
from harness.config.progress import LineProgress
from harness.config.study import StudyConfig
from harness.core.environment import read_environment
from harness.core.paths import Workspace
from harness.core.records import TrialRecord
from harness.execution.local_executor import LocalExecutor
from harness.execution.slots import Slot
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.write_definition import write_definition
from harness.search.run.controller import Controller
from harness.search.run.trials import TrialContext, TrialFactory
from harness.search.storage.rebuild import load_or_rebuild_study
from harness.search.storage.storage import open_storage
from harness.space.reading.load_space import space_from_dict
from harness.space.space import AllowedValues
from harness.tracking.mirror import Mirror
from harness.tracking.uri import resolve_tracking_store

ROWS = 8  # of the table
SPACE = {
    "parameters": {
        "model.encoder_name": {"choices": ["resnet18", "resnet34", "mobilenet_v2"]},
        "optim.lr": {"low": 1e-5, "high": 1e-2, "log": True},
        "loss.dice": {"low": 0.1, "high": 1.0},
        "loss.bce": {"low": 0.1, "high": 1.0},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=0.05, help="of a trial")
    parser.add_argument("--epochs", type=int, default=1, help="of a trial")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--no-mlflow", action="store_true", help="without the mirror")
    args = parser.parse_args()
    os.environ["HARNESS_BENCH_SECONDS"] = str(args.seconds)
    os.environ["HARNESS_BENCH_EPOCHS"] = str(args.epochs)
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), args)


class Table(LineProgress):
    """Print a line after each group of trials: their average cost since the previous line."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__()
        self._every, self._args = max(args.trials // ROWS, 1), args
        self.asks: list[float] = []
        self._since = time.perf_counter()
        print("trials  memory MB  ms per ask  workers busy  s per trial")

    def stage(self, text: str) -> None: ...

    def began(self, record: TrialRecord, config: Any, *, continued: bool) -> None: ...

    def epoch(self, record: TrialRecord, metrics: dict[str, float]) -> None: ...

    def ended(self, record: TrialRecord, best: TrialRecord | None) -> None: ...

    def trials(self, finished: int, total: int) -> None:
        if finished == 0 or finished % self._every:
            return
        each = (time.perf_counter() - self._since) / self._every
        busy = self._args.seconds / (each * self._args.workers)
        memory = psutil.Process().memory_info().rss / 2**20
        ask = 1000 * statistics.median(self.asks or [math.nan])
        print(f"{finished:6} {memory:10.0f} {ask:10.1f} {busy:13.2f} {each:12.4f}", flush=True)
        self.asks, self._since = [], time.perf_counter()


def run(root: Path, args: argparse.Namespace) -> None:
    """Run a study with that many trials in an empty folder and print its cost."""
    workspace, table = Workspace(root), Table(args)
    paths = workspace.study("many")
    definition = definition_of(args)
    write_definition(paths, definition, [], [], None)
    _time_asks(table)
    storage = open_storage(workspace.optuna_db)
    study = load_or_rebuild_study(storage, paths, definition, table.stage)
    tracker = resolve_tracking_store(workspace, paths, str(definition.config.id))
    mirror = Mirror(tracker, paths, definition.config, print)
    executor = LocalExecutor(
        paths.worker_log, slots=[Slot("cpu")] * args.workers, module="benchmarks.sleeping_worker"
    )
    controller = Controller(
        study,
        storage,
        definition,
        TrialContext(paths, root, workspace.cache, "cpu"),
        executor,
        progress=table,
        mirror=Silence() if args.no_mlflow else mirror,
        environment=read_environment(root),
    )
    controller.run(args.trials)
    executor.close()
    if not args.no_mlflow:
        begun = time.perf_counter()
        mirror.finish(600)
        print(f"MLflow had caught up {time.perf_counter() - begun:.1f} s after the last trial")


def definition_of(args: argparse.Namespace) -> StudyDefinition:
    """Definition of a study over SPACE, as `harness run` would resolve it."""
    space = space_from_dict(SPACE, source="space", legal=AllowedValues())
    settings = {
        "id": "0" * 32,
        "sampler": {"name": args.sampler},
        "pruner": {"name": "none"},  # each trial sleeps its whole time
        "fixed": {"train.epochs": args.epochs},
    }
    return StudyDefinition(StudyConfig.from_mapping(settings), space, is_started=False)


def _time_asks(table: Table) -> None:
    draw = TrialFactory.create_trial

    def timed(desk: TrialFactory) -> Any:
        begun = time.perf_counter()
        try:
            return draw(desk)
        finally:
            table.asks.append(time.perf_counter() - begun)

    TrialFactory.create_trial = timed  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
