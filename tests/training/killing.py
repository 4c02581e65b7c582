"""Runs that end as a power cut ends them. A program of its own, so that it can fork.

    python -m tests.training.killing training PICTURES.json KILLED WHOLE SEED
    python -m tests.training.killing saving FOLDER SEED

It imports the libraries once and computes nothing, so that its children start at once and threads
of torch are never forked. What it saw it writes as JSON to standard output.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from harness.core.paths import TrialPaths
from harness.training.loop.checkpoint import read_checkpoint, write_checkpoint
from tests.training.conftest import Pictures
from tests.training.loop.test_fit import run

EPOCHS, STEPS = 5, 2  # of a training, and optimiser steps in each epoch
CHANGES: dict[str, Any] = {"train__epochs": EPOCHS, "train__checkpoint_s": 0.0}
KILLS = 200


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], None]) -> int:
    """Do it in a forked child. Returns the signal that ended it; 0: it came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, "the child failed; see stderr"
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def train(pictures: Pictures, folder: Path, *, step: int = 0, epoch: int = 0) -> None:
    """Train or continue; killed right after that optimiser step, or as that epoch is reported."""
    done = [0]

    def after_step(*_: object) -> None:
        done[0] += 1
        if done[0] == step:
            die()

    def answer(line: dict[str, float]) -> Any:
        if line["epoch"] == epoch:
            die()
        return "continue"

    register_optimizer_step_post_hook(after_step)
    run(pictures, folder, answer, **CHANGES)


def training(pictures: Pictures, folder: Path, whole: Path, rng: random.Random) -> list[int]:
    """Killed twice at a random step of each epoch and once at its end; and an undisturbed one.

    Returns the signals.
    """
    ends = [in_child(lambda: train(pictures, whole))]
    for epoch in range(1, EPOCHS + 1):
        for _ in range(2):
            step = rng.randint(1, STEPS)
            ends.append(in_child(lambda step=step: train(pictures, folder, step=step)))  # type: ignore[misc]
        ends.append(in_child(lambda epoch=epoch: train(pictures, folder, epoch=epoch)))  # type: ignore[misc]
    ends.append(in_child(lambda: train(pictures, folder)))
    return ends


def state(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "weights": torch.full((200_000,), float(epoch))}


def save_for_ever(paths: TrialPaths, started: int) -> None:
    """Save one checkpoint after another; each that is whole is told through a pipe."""
    last = read_checkpoint(paths)
    epoch = 0 if last is None else last["epoch"]
    while True:
        epoch += 1
        os.write(started, epoch.to_bytes(4, "big"))  # the one before is whole
        write_checkpoint(paths, state(epoch))


def saving(paths: TrialPaths, rng: random.Random) -> dict[str, int]:
    """Kill a process that saves, again and again; after each time there must be a checkpoint."""
    torn = 0
    for _ in range(KILLS):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            save_for_ever(paths, writer)
        os.close(writer)
        first = os.read(reader, 4)  # it is saving
        time.sleep(rng.uniform(0, 0.02))  # the random moment itself, not a wait for anything
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with os.fdopen(reader, "rb") as pipe:
            begun = int.from_bytes((first + pipe.read())[-4:], "big")
        found = read_checkpoint(paths)
        epoch = 0 if found is None else found["epoch"]
        assert epoch in (begun - 1, begun), f"checkpoint {begun} was begun, {epoch} is found"
        assert found is None or bool((found["weights"] == epoch).all())
        torn += epoch < begun
    return {"kills": KILLS, "torn": torn, "epochs": epoch}


if __name__ == "__main__":
    what, *places, seed = sys.argv[1:]
    if what == "training":
        plain = json.loads(Path(places[0]).read_text(encoding="utf-8"))
        killed, whole = Path(places[1]), Path(places[2])
        seen: object = training(Pictures.from_plain(plain), killed, whole, random.Random(seed))
    else:
        seen = saving(TrialPaths(Path(places[0])), random.Random(seed))
    sys.stdout.write(json.dumps(seen) + "\n")
