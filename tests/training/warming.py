"""Trials one after another in one process, and each in a fresh one. A program, so that it can fork.

    python -m tests.training.warming PICTURES.json FOLDER N

It imports the libraries once and computes nothing before it forks, so that no threads of torch are
forked. What it saw it writes as JSON to standard output.
"""

import gc
import json
import multiprocessing
import sys
import weakref
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from harness.training.loop import fit as fitting
from harness.training.loop.setup import TrainingSetup
from tests.training.conftest import Pictures
from tests.training.loop.test_fit import run

VARIANTS: list[dict[str, Any]] = [
    {},
    {"train__ema_decay": 0.9, "train__checkpoint_s": 0.0},
    {"optim__name": "sgd", "optim__lr": 0.01},
]


def train(pictures: Pictures, folder: Path, n: int) -> dict[str, Any]:
    """Trial `n`: its metrics, to the last digit."""
    result = run(pictures, folder / f"{n:04d}", seed=n, **VARIANTS[n % len(VARIANTS)])
    assert result.outcome == "complete"
    return {**result.best, "value": result.value}


def fresh(task: tuple[Pictures, Path, int]) -> dict[str, Any]:
    torch.set_num_threads(1)
    return train(*task)


def warm(pictures: Pictures, folder: Path, count: int) -> dict[str, Any]:
    """All trials in this process, which collects nothing by itself; counts as each begins."""
    networks: list[weakref.ref[nn.Module]] = []
    alive: list[int] = []
    resident: list[int] = []
    prepare = fitting.prepare_training

    def noted(*args: Any, **kwargs: Any) -> TrainingSetup:
        alive.append(sum(network() is not None for network in networks))
        resident.append(psutil.Process().memory_info().rss)
        setup = prepare(*args, **kwargs)
        networks.append(weakref.ref(setup.trainer.network))
        networks.append(weakref.ref(setup.trainer.eval_model))
        return setup

    fitting.prepare_training = noted
    gc.disable()
    values = [train(pictures, folder / "warm", n) for n in range(count)]
    return {"alive": alive, "warm": values, "resident": resident}


def main(pictures_json: str, folder: str, count: str) -> None:
    pictures = Pictures.from_plain(json.loads(Path(pictures_json).read_text()))
    torch.set_num_threads(1)
    n, place = int(count), Path(folder)
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        tasks = [(pictures, place / "fresh", k) for k in range(n)]
        seen = {"fresh": pool.map(fresh, tasks, chunksize=1)}
    sys.stdout.write(json.dumps(seen | warm(pictures, place, n)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
