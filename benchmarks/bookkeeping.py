"""What the thread that trains spends on anything else, per trial; and what the controller spends.

    python -m benchmarks.bookkeeping [--epochs 20] [--trials 100 5000]

First part: a real training of that many epochs, with an answer to each epoch that takes 20 ms, as
a busy controller's may. All that is not an epoch's training or validation, and not the copy of the
best weights, is bookkeeping. Second part: the controller's own time per trial of that many epochs,
in studies that hold so many finished trials already; workers train on meanwhile.
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
import torch

from benchmarks.many_trials import definition_of
from benchmarks.replaying import Silence
from harness.config import ObjectiveConfig, TrialConfig
from harness.data.cache import open_cache
from harness.data.look import look_at_all
from harness.data.sources import open_folder
from harness.data.splits import make_split
from harness.data.synthetic import generate
from harness.data_config import SplitConfig, StudyDataConfig
from harness.execution.protocol import Decision, Ended, EpochDone, Event, Started, TrialTask
from harness.paths import TrialPaths, Workspace
from harness.search.controller import Controller
from harness.search.definition import write_definition
from harness.search.rebuild import open_index
from harness.search.sampler import distribution_of
from harness.search.stamp import take_stamp
from harness.search.storage import open_storage
from harness.search.trials import Place
from harness.training.fit import fit
from harness.training.session import Session
from harness.training.setup import Setup
from harness.training.trainer import Trainer

ANSWER_S = 0.02
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--trials", type=int, nargs="*", default=[100, 5000])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        on_training_thread(Path(folder), args.epochs)
    for n_trials in args.trials:
        with tempfile.TemporaryDirectory() as folder:
            of_controller(Path(folder), n_trials, args.epochs)


class Watch:
    """Seconds spent in some methods, on whichever thread; nested ones count once."""

    def __init__(self, *methods: tuple[type, str]) -> None:
        self.seconds, self._inside = 0.0, False
        for owner, name in methods:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, method: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return method(*args, **kwargs)
            begun, self._inside = time.perf_counter(), True
            try:
                return method(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - begun
                self._inside = False

        return timed


def on_training_thread(folder: Path, epochs: int) -> None:
    whole = Watch((Session, "next_epoch"))
    training = Watch((Trainer, "epoch"), (Setup, "validate_epoch"))
    copies = Watch((Session, "_remember"))
    root = generate(folder / "polyps", count=40, size=128)
    meaning = StudyDataConfig(root=str(root))
    dataset = open_folder(root, meaning, max_pixels=100e6)
    rows = make_split(dataset, look_at_all(dataset), SplitConfig(fractions=(0.5, 0.5, 0.0)))
    cache = open_cache(
        root, rows, meaning, size=(64, 64), fit="stretch", folder=folder, max_pixels=100e6
    )
    config = TrialConfig.from_flat(
        {
            "model.encoder_name": "mobilenet_v2",
            "model.encoder_weights": None,
            "data.image_size": 64,
            "train.epochs": epochs,
            "train.batch_size": 4,
        }
    )

    def answer(_: Any) -> Decision:
        time.sleep(ANSWER_S)
        return "continue"

    spent = []
    for n in range(REPEATS):
        whole.seconds = training.seconds = copies.seconds = 0.0
        fit(
            config,
            cache,
            names={number: row.image for number, row in enumerate(rows)},
            paths=TrialPaths(folder / str(n)),
            seed=n,
            device=torch.device("cpu"),
            precision="fp32",
            objective=ObjectiveConfig(),
            on_epoch=answer,
        )
        spent.append(1000 * (whole.seconds - training.seconds - copies.seconds))
    print(
        f"training thread: {statistics.median(spent):.1f} ms of bookkeeping per trial of {epochs} "
        f"epochs; {1000 * copies.seconds:.0f} ms to copy the best weights, "
        f"{training.seconds:.1f} s of training and validation",
        flush=True,
    )


def of_controller(root: Path, n_trials: int, epochs: int) -> None:
    args = argparse.Namespace(epochs=epochs, sampler="tpe", trials=REPEATS, seconds=1, workers=1)
    workspace = Workspace(root)
    paths = workspace.study("many")
    definition = definition_of(args)
    write_definition(paths, definition, [], [], None)
    storage = open_storage(workspace.optuna_db)
    study = open_index(storage, paths, definition, print)
    study.add_trials([_finished(definition, n, epochs) for n in range(n_trials)])
    executor = Instant(epochs)
    controller = Controller(
        study,
        storage,
        definition,
        Place(paths, root, workspace.cache, "cpu"),
        executor,
        progress=Silence(),
        notes=Silence(),
        stamp=take_stamp(root),
    )
    begun = time.perf_counter()
    controller.run(n_trials + REPEATS)
    each = (time.perf_counter() - begun) / REPEATS
    print(f"controller: {each:.2f} s per trial of {epochs} epochs after {n_trials}", flush=True)


def _finished(definition: Any, number: int, epochs: int) -> optuna.trial.FrozenTrial:
    generator = random.Random(number)
    distributions = {p.key: distribution_of(p) for p in definition.space.parameters}
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
    """An executor whose trials take no time at all."""

    slots = 1

    def __init__(self, epochs: int) -> None:
        self._epochs, self._events = epochs, list[Event]()

    def start(self, task: TrialTask) -> None:
        same = {"number": task.number, "attempt": task.attempt}
        self._events = [Started(device="none", precision="none", **same)]  # type: ignore[arg-type]
        for epoch in range(1, self._epochs + 1):
            line = {"epoch": epoch, "seconds": 1.0, "val/dice_loss": 0.5 / epoch, "val/dice": 0.5}
            self._events.append(EpochDone(metrics=line, **same))  # type: ignore[arg-type]
        ended = Ended(
            outcome="complete",
            value=0.5 / self._epochs,
            best_epoch=self._epochs,
            best={"best/dice_loss": 0.5 / self._epochs},
            costs={"cost/seconds": 1.0},
            **same,  # type: ignore[arg-type]
        )
        self._events.append(ended)

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        return self._events.pop(0) if self._events else None

    def answer(self, number: int, decision: Decision) -> None: ...

    def abandon(self, number: int) -> str:
        return ""

    def wind_up(self) -> None: ...

    def close(self) -> None: ...


if __name__ == "__main__":
    main()
