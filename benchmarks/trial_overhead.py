"""Measure the overhead of a trial beyond its training: the harness against a bare PyTorch loop.

    python -m benchmarks.trial_overhead [--repeats 5] [--epochs 4] [--encoder NAME] [--size 128]

Both arms have the same images, batches, network, optimiser and number of validations; they take
turns, each in a warm process. The harness's time starts with the sampling of the trial and includes
database, log, images, model and MLflow; it is measured until the controller would sample the next
trial, and until MLflow has received everything.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.config.progress import LineProgress
from harness.config.study import StudyConfig
from harness.core.environment import read_environment
from harness.core.paths import Workspace
from harness.core.records import TrialRecord
from harness.data.datasets.synthetic import generate_dataset
from harness.execution.local_executor import LocalExecutor
from harness.execution.slots import Slot
from harness.search.definition.data_setup import fill_caches, load_or_make_split
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.write_definition import write_definition
from harness.search.run.controller import Controller
from harness.search.run.stop_conditions import StopConditions
from harness.search.run.trials import TrialContext
from harness.search.storage.rebuild import load_or_rebuild_study
from harness.search.storage.storage import open_storage
from harness.space.reading.load_space import space_from_dict
from harness.space.space import AllowedValues
from harness.tracking.mirror import Mirror
from harness.tracking.uri import resolve_tracking_store

IMAGES, BATCH = 80, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), args)


def definition_of(args: argparse.Namespace, root: Path) -> StudyDefinition:
    space = {"parameters": {"train.seed": {"choices": list(range(args.repeats + 1))}}}
    fixed = {
        "model.arch": "Unet",
        "model.encoder_name": args.encoder,
        "model.encoder_weights": None,
        "data.image_size": args.size,
        "train.epochs": args.epochs,
        "train.batch_size": BATCH,
        "optim.lr": 3e-4,
        "optim.schedule": "onecycle",
        "optim.grad_clip": 1.0,
        "train.precision": "fp32",  # as the bare loop has it
    }
    settings = {
        "id": "0" * 32,
        "data": {"root": str(root)},
        "sampler": {"name": "grid"},
        "pruner": {"name": "none"},
        "fixed": fixed,
    }
    legal = AllowedValues()
    config = StudyConfig.from_mapping(settings)
    return StudyDefinition(
        config, space_from_dict(space, source="space", legal=legal), is_started=False
    )


class Turns(LineProgress):
    """Run the bare loop after each trial of the harness."""

    def __init__(self, mirror_idle: Callable[[], bool], bare: Callable[[], float]) -> None:
        super().__init__()
        self._idle, self._bare = mirror_idle, bare
        self._ended = False
        self._begun = time.perf_counter()
        self.ours: list[float] = []
        self.with_mlflow: list[float] = []
        self.plain: list[float] = []

    def ended(self, record: TrialRecord, best: TrialRecord | None) -> None:
        self._ended = True

    def between(self) -> None:
        """Called in every round of the controller, before it draws."""
        if not self._ended:
            return
        self.ours.append(time.perf_counter() - self._begun)
        while not self._idle():
            time.sleep(0.01)
        self.with_mlflow.append(time.perf_counter() - self._begun)
        self.plain.append(self._bare())
        print(f"harness {self.ours[-1]:.2f} s, bare loop {self.plain[-1]:.2f} s", flush=True)
        self._ended, self._begun = False, time.perf_counter()


class Watched(Mirror):
    """Mirror that reports when all queued data have been copied."""

    _waits = False

    @property
    def is_idle(self) -> bool:
        return self._waits and not self._pending

    def _next(self, shipper: Any) -> int:
        self._waits = True
        number = super()._next_number(shipper)
        self._waits = False
        return number


class Bare:
    """The bare loop in its own process, which stays alive."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bare_loop"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __call__(self) -> float:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(self._order) + "\n")
        self._process.stdin.flush()
        return float(json.loads(self._process.stdout.readline())["seconds"])

    def close(self) -> None:
        self._process.kill()


def compare(root: Path, args: argparse.Namespace) -> None:
    data = generate_dataset(root / "polyps", count=IMAGES, size=256)
    workspace, quiet = Workspace(root), LineProgress()
    paths = workspace.study("overhead")
    definition = definition_of(args, data)
    split = load_or_make_split(workspace, paths, definition, data, quiet, skip_bad=False)
    write_definition(paths, definition, split, [], None)
    fill_caches(definition, workspace, data, split, quiet)
    (cache,) = (folder.parent for folder in workspace.cache.rglob("images.npy"))
    n_train = sum(row.role == "train" for row in split)
    order = {"cache": str(cache), "out": str(root), "encoder": args.encoder, "epochs": args.epochs}
    bare = Bare(order | {"batch_size": BATCH, "n_train": n_train, "seed": 0})
    bare()  # warms it
    tracker = resolve_tracking_store(workspace, paths, str(definition.config.id))
    mirror = Watched(tracker, paths, definition.config, print)
    turns = Turns(lambda: mirror.is_idle, bare)
    stops = StopConditions()
    stops.checks.append(turns.between)
    storage = open_storage(workspace.optuna_db)
    executor = LocalExecutor(paths.worker_log, slots=[Slot("cpu")])
    controller = Controller(
        load_or_rebuild_study(storage, paths, definition, quiet.stage),
        storage,
        definition,
        TrialContext(paths, data, workspace.cache, "cpu"),
        executor,
        progress=turns,
        mirror=mirror,
        environment=read_environment(root),
        stop_conditions=stops,
    )
    controller.run(args.repeats + 1)
    turns.between()  # after the last trial
    executor.close()
    bare.close()
    mirror.finish(60)
    tell(turns)


def tell(turns: Turns) -> None:
    """Ratios of neighbours, without the first trial, which starts its process."""
    pairs = list(zip(turns.ours, turns.with_mlflow, turns.plain, strict=True))[1:]
    ours = statistics.median(mine / plain for mine, _, plain in pairs)
    whole = statistics.median(both / plain for _, both, plain in pairs)
    print(f"harness / bare loop: {ours:.3f}; until MLflow has everything: {whole:.3f}")


if __name__ == "__main__":
    main()
