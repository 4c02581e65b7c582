"""Run a study whose controllers are killed a number of times.

    python -m tests.search.killing WORKSPACE DATA KILLS WHO

WHO is `controller`, or `all`: then its workers are killed with it. Each controller is a fork of
this process, which has imported everything and computes nothing, so that it starts quickly. The
last one is not killed; its exit code is that of this process.
"""

import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import psutil

import harness.search.run.launch  # noqa: F401  # imported before any fork
from harness.api import run_study
from harness.core.paths import StudyPaths
from harness.execution.local_executor import LocalExecutor
from harness.search.run import run
from tests.conftest import TINY
from tests.execution.forking import forking

TRIALS, EPOCHS = 12, 20
NETWORK = """\
from torch import nn

from harness import parts


@parts.network()
def dot(in_channels: int, classes: int):
    layers = nn.Conv2d(in_channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, classes, 1)
    return nn.Sequential(*layers)
"""


def study(workspace: Path, data: Path, module: str) -> None:
    run.LocalExecutor = partial(LocalExecutor, module=module)  # type: ignore[misc,assignment]
    parts = workspace / "mine.py"
    parts.write_text(NETWORK, encoding="utf-8")
    fixed = {"model.arch": "dot", "data.image_size": 32, "train.batch_size": 8}
    fixed |= {"train.epochs": EPOCHS, "train.checkpoint_s": 0}
    run_study(
        "s",
        space={"parameters": TINY["parameters"], "fixed": fixed},
        data=data,
        trials=TRIALS,
        parts=parts,
        pruner="none",
        device="cpu",
        workspace=workspace,
    ).report()


def fork(workspace: Path, data: Path, module: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        study(workspace, data, module)
        code = 0
    finally:
        os._exit(code)


def n_epochs(paths: StudyPaths) -> int:
    logs = paths.root.glob("trials/*/epochs.jsonl")
    return sum(log.read_bytes().count(b"\n") for log in logs)


def kill(pid: int, *, workers: bool) -> None:
    doomed = psutil.Process(pid).children(recursive=True) if workers else []
    for process in [psutil.Process(pid), *doomed]:
        process.send_signal(signal.SIGKILL)
    os.waitpid(pid, 0)


def main(workspace: Path, data: Path, kills: int, who: str) -> int:
    paths, rng = StudyPaths(workspace / "studies" / "s"), random.Random(7)
    with forking(workspace) as module:
        for _ in range(kills):
            pid = fork(workspace, data, module)
            goal = n_epochs(paths) + rng.randint(2, TRIALS * EPOCHS // (kills + 3))
            while n_epochs(paths) < goal:
                assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it ended by itself"
                time.sleep(0.01)  # a poll for the event
            time.sleep(rng.uniform(0, 0.3))  # the seeded moment itself
            kill(pid, workers=who == "all")
        _, status = os.waitpid(fork(workspace, data, module), 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
