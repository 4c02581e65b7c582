"""Measure the bookkeeping per trial: in the thread that trains, and in the controller.

    python -m benchmarks.bookkeeping [--epochs 20] [--trials 100 5000] [--repeats 5]

For each number of trials, a study is generated that has this many finished trials. A worker then
trains a few more and measures the time of its thread outside training and validation, while the
controller samples trials, decides about every epoch and writes to its database. After that, trials
of zero duration show the time of the controller itself, in a separate process.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna

from benchmarks.replaying import Silence
from harness.config.study import StudyConfig
from harness.core.environment import read_environment
from harness.core.paths import Workspace
from harness.core.records import TrialResult
from harness.data.datasets.synthetic import generate_dataset
from harness.execution.local_executor import LocalExecutor
from harness.execution.protocol import (
    Decision,
    EpochReport,
    Event,
    TrialFinished,
    TrialStarted,
    TrialTask,
)
from harness.execution.slots import Slot
from harness.search.definition.data_setup import fill_caches, load_or_make_split
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.write_definition import write_definition
from harness.search.run.controller import Controller
from harness.search.run.trials import TrialContext
from harness.search.sampling.distributions import to_distribution
from harness.search.storage.rebuild import load_or_rebuild_study
from harness.search.storage.storage import open_storage
from harness.space.reading.load_space import space_from_dict
from harness.space.space import AllowedValues

SPACE = {
    "parameters": {
        "optim.name": {"choices": ["adamw", "adam", "sgd"]},
        "optim.lr": {"low": 1e-5, "high": 1e-2, "log": True},
        "loss.dice": {"low": 0.1, "high": 1.0},
        "loss.bce": {"low": 0.1, "high": 1.0},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--trials", type=int, nargs="*", default=[100, 5000])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    for n_trials in args.trials:
        with tempfile.TemporaryDirectory() as folder:
            of_training_thread(Path(folder), n_trials, args)
    for n_trials in args.trials:
        with tempfile.TemporaryDirectory() as folder:
            of_controller(Path(folder), n_trials, args)


def of_training_thread(root: Path, n_trials: int, args: argparse.Namespace) -> None:
    data = generate_dataset(root / "polyps", count=40, size=128)
    workspace, quiet = Workspace(root), Silence()
    paths, definition = workspace.study("many"), definition_of(args, data)
    split = load_or_make_split(workspace, paths, definition, data, quiet, skip_bad=False)  # type: ignore[arg-type]
    write_definition(paths, definition, split, [], None)
    fill_caches(definition, workspace, data, split, quiet)  # type: ignore[arg-type]
    executor = LocalExecutor(
        paths.worker_log, slots=[Slot("cpu")], module="benchmarks.watched_worker"
    )
    controller = controller_of(workspace, definition, n_trials, executor)
    controller.run(n_trials + args.repeats + 1)
    executor.close()
    found = [line for line in paths.worker_log(0).read_text().splitlines() if line[:1] == "{"]
    lines = [json.loads(line) for line in found][1:]  # the first starts the process
    each = sorted(1000 * line["bookkeeping"] for line in lines)
    copies, training = (
        statistics.median(line[name] for line in lines) for name in ("copies", "training")
    )
    print(
        f"after {n_trials}: {statistics.median(each):.1f} ms of bookkeeping on the training thread "
        f"per trial of {args.epochs} epochs ({each[0]:.1f} to {each[-1]:.1f}); "
        f"{1000 * copies:.0f} ms to copy weights, {training:.1f} s of training and validation",
        flush=True,
    )


def of_controller(root: Path, n_trials: int, args: argparse.Namespace) -> None:
    workspace, definition = Workspace(root), definition_of(args, root)
    write_definition(workspace.study("many"), definition, [], [], None)
    controller = controller_of(workspace, definition, n_trials, Instant(args.epochs))
    begun = time.perf_counter()
    controller.run(n_trials + args.repeats)
    each = (time.perf_counter() - begun) / args.repeats
    print(f"after {n_trials}: {each:.3f} s of the controller's own per trial", flush=True)


def definition_of(args: argparse.Namespace, data: Path) -> StudyDefinition:
    """Definition of a study over SPACE, as `harness run` would resolve it."""
    settings = {
        "id": "0" * 32,
        "data": {"root": str(data)},
        "split": {"fractions": [0.5, 0.5, 0.0]},
        "pruner": {"name": "none"},  # each trial trains its whole time
        "fixed": {
            "model.encoder_name": "mobilenet_v2",
            "model.encoder_weights": None,
            "data.image_size": 64,
            "train.epochs": args.epochs,
            "train.batch_size": 4,
        },
    }
    space = space_from_dict(SPACE, source="space", legal=AllowedValues())
    return StudyDefinition(StudyConfig.from_mapping(settings), space, is_started=False)


def controller_of(
    workspace: Workspace, definition: StudyDefinition, n_trials: int, executor: Any
) -> Controller:
    """Controller of the study `many`, which has this many finished trials."""
    paths, root = workspace.study("many"), Path(definition.config.data.root)
    storage = open_storage(workspace.optuna_db)
    study = load_or_rebuild_study(storage, paths, definition, print)
    epochs = definition.config.fixed["train.epochs"]
    study.add_trials([_finished(definition, n, epochs) for n in range(n_trials)])
    return Controller(
        study,
        storage,
        definition,
        TrialContext(paths, root, workspace.cache, "cpu"),
        executor,
        progress=Silence(),
        mirror=Silence(),
        environment=read_environment(workspace.root),
    )


def _finished(definition: StudyDefinition, number: int, epochs: int) -> optuna.trial.FrozenTrial:
    generator = random.Random(number)
    distributions = {p.key: to_distribution(p) for p in definition.space.parameters}
    values = {
        key: generator.choice(d.choices)
        if hasattr(d, "choices")
        else generator.uniform(d.low, d.high)
        for key, d in distributions.items()
    }
    curve = {step: 0.2 + 0.6 * generator.random() / (step + 1) for step in range(epochs)}
    return optuna.trial.create_trial(
        params=values,
        distributions=distributions,
        value=min(curve.values()),
        intermediate_values=curve,
    )


class Instant:
    """Executor whose trials end immediately."""

    slots = 1
    waiting: frozenset[int] = frozenset()

    def __init__(self, epochs: int) -> None:
        self._epochs, self._events = epochs, list[Event]()

    def start(self, task: TrialTask) -> None:
        same = {"number": task.number, "attempt": task.attempt}
        self._events = [TrialStarted(device="none", precision="none", **same)]  # type: ignore[arg-type]
        for epoch in range(1, self._epochs + 1):
            line = {"epoch": epoch, "seconds": 1.0, "val/dice_loss": 0.5 / epoch, "val/dice": 0.5}
            self._events.append(EpochReport(metrics=line, **same))  # type: ignore[arg-type]
        ended = TrialFinished(
            result=TrialResult(
                outcome="complete",
                value=0.5 / self._epochs,
                best_epoch=self._epochs,
                best={"best/dice_loss": 0.5 / self._epochs},
                costs={"cost/seconds": 1.0},
            ),
            **same,  # type: ignore[arg-type]
        )
        self._events.append(ended)

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        return self._events.pop(0) if self._events else None

    def answer(self, number: int, decision: Decision) -> None: ...

    def kill_trial(self, number: int) -> str:
        return ""

    def request_stop(self) -> None: ...

    def close(self) -> None: ...


if __name__ == "__main__":
    main()
