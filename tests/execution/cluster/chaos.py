"""Studies of a tiny network on a cluster, with kills of nodes and workers at seeded moments."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import yaml

from harness.core.paths import StudyPaths, Workspace
from harness.core.records import read_epochs, read_records
from tests.execution.cluster.machines import ADDRESS, RayMachines

CLUSTER = ("--cluster", f"ray:{ADDRESS}")
RUN_S, FIRST_EPOCH_S, FAILOVER_S = 1500.0, 300.0, 300.0
GATE, TALLY = "gate", "passes"
# The sleep makes an epoch long enough that a kill hits a training; it changes no number. Trainings
# wait while the folder of the space has a gate, and each pass adds its process to the tally.
NETWORK = """\
import os
import time
from pathlib import Path

from torch import nn

from harness import parts


class Slow(nn.Module):
    def forward(self, images):
        if self.training:
            with Path(TALLY).open("ab", buffering=0) as tally:
                tally.write(b"%d " % os.getpid())
        time.sleep(SECONDS)
        # Checks before trial 0 run the network on the meta device; the gate holds trainings.
        while not images.is_meta and Path(GATE).exists():
            time.sleep(0.02)
        return images


@parts.network()
def dot(in_channels: int, classes: int):
    layers = nn.Conv2d(in_channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, classes, 1)
    return nn.Sequential(Slow(), *layers)
"""


def write_space(folder: Path, epochs: int, seconds: float = 0.0) -> list[str]:
    """Options of a study of a tiny network of the user, with a checkpoint after each epoch.

    Args:
        seconds: that each pass through the network sleeps; an epoch has eight.
    """
    fixed = {"model.arch": "dot", "data.image_size": 32, "train.batch_size": 8}
    fixed |= {"train.epochs": epochs, "train.checkpoint_s": 0, "data.augment": "light"}
    rates = {"low": 1e-4, "high": 1e-2, "log": True}
    space = {"parameters": {"optim.lr": rates}, "fixed": fixed}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s.yaml").write_text(yaml.safe_dump(space), encoding="utf-8")
    network = NETWORK.replace("SECONDS", str(seconds))
    for name, file in (("TALLY", folder / TALLY), ("GATE", folder / GATE)):
        network = network.replace(f"Path({name})", f"Path({str(file)!r})")
    (folder / "mine.py").write_text(network, encoding="utf-8")
    options = ["run", "--space", str(folder / "s.yaml"), "--parts", str(folder / "mine.py")]
    return [*options, "--data", "synthetic", "--sampler", "random", "--pruner", "none"]


def study_of(workspace: Path) -> StudyPaths:
    return Workspace(workspace).study("s")


def results_of(paths: StudyPaths) -> list[dict[str, Any]]:
    """Values, parameters and curves of all trials, without what the clock decides."""
    timed = ("time_ms", "seconds")
    return [
        {
            "state": record.state,
            "params": record.params,
            "value": record.value,
            "best": {key: value for key, value in record.best.items() if "seconds" not in key},
            "curve": [
                {key: value for key, value in line.items() if key not in timed}
                for line in read_epochs(paths.trial(record.number))
            ],
        }
        for record in read_records(paths)
    ]


def run_locally(workspace: Path, options: list[str], trials: int) -> list[dict[str, Any]]:
    """Results of the same study, undisturbed and on this machine alone."""
    words = ("--trials", str(trials), "--workspace", str(workspace), "--device", "cpu")
    command = [sys.executable, "-m", "harness", *options, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return results_of(study_of(workspace))


@dataclass
class LocalStudy:
    """Undisturbed study on this machine alone.

    Attributes:
        passes: training passes through the network.
    """

    results: list[dict[str, Any]]
    passes: int


@cache
def local_study(epochs: int, trials: int) -> LocalStudy:
    """The study of `write_space`, trained once for all tests; shorter ones are its beginning."""
    with tempfile.TemporaryDirectory() as name:
        options = write_space(Path(name) / "space", epochs)
        results = run_locally(Path(name) / "local", options, trials)
        return LocalStudy(results, count_passes(options))


def epoch_lines(paths: StudyPaths) -> list[dict[str, Any]]:
    """All lines of all logs, also of epochs that were trained again."""
    lines = []
    for log in sorted(paths.root.glob("trials/*/epochs.jsonl")):
        for text in log.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                lines.append({"trial": log.parent.name, **json.loads(text)})
    return lines


def seconds_to_next_epoch(paths: StudyPaths, trial: int, since: float, limit_s: float) -> float:
    """Wait for an epoch of a trial that ended after `since` (seconds since 1970)."""
    while time.time() < since + limit_s:
        times = [e["time_ms"] for e in epoch_lines(paths) if int(e["trial"]) == trial]
        if times and max(times) > 1000 * since:
            return max(times) / 1000 - since
        time.sleep(0.1)
    raise AssertionError(f"trial {trial} did not train again within {limit_s} s")


def count_passes(options: list[str]) -> int:
    """Training passes through the network of a space, by all processes so far."""
    return len(_read_tally(options))


def _read_tally(options: list[str]) -> list[int]:
    """Process of each training pass."""
    with suppress(FileNotFoundError):
        return [int(word) for word in _folder_of(options, TALLY).read_bytes().split(b" ")[:-1]]
    return []


@dataclass
class Failover:
    """Seconds from the loss of a node to the next epoch of its trial, and the end of the command.

    Attributes:
        dead_s: of a node that was killed.
        silent_s: of a node that was stopped, with its connections open.
    """

    dead_s: float
    silent_s: float
    exit_code: int
    output: str


def measure_failover(machines: RayMachines, options: list[str]) -> Failover:
    """Kill the node of a long trial, then stop the next one; three nodes are needed."""
    words = ("--trials", "1", "--workspace", str(machines.workspace), *CLUSTER)
    process = machines.command(*options, *words)
    try:
        paths, started = study_of(machines.workspace), time.time()
        seconds_to_next_epoch(paths, 0, started, FIRST_EPOCH_S)
        seconds = []
        for lose in (machines.kill_node, machines.freeze_node):
            trains = _read_tally(options)[-1]
            (busy,) = (n for n in machines.nodes if trains in {p.pid for p in machines.tree(n)})
            moment = time.time()
            lose(busy)
            # An epoch that had ended may still arrive in the first second.
            seconds.append(seconds_to_next_epoch(paths, 0, moment + 1.0, FAILOVER_S) + 1.0)
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=FAILOVER_S)
    return Failover(*seconds, process.returncode, output)


@dataclass
class ChaosReport:
    """Outcome of a disturbed study.

    Attributes:
        passes: training passes through the network, also of epochs that were trained again.
        seconds: that it took.
    """

    exit_code: int
    output: str
    results: list[dict[str, Any]]
    node_kills: int
    worker_kills: int
    passes: int
    seconds: float

    def repeated(self, local_passes: int, n_epochs: int) -> float:
        """Epochs that were trained again, with the parts of those that were cut off.

        Args:
            local_passes: of the undisturbed study, for `n_epochs` epochs.
        """
        return (self.passes - local_passes) / (local_passes // n_epochs)


def run_with_kills(
    machines: RayMachines,
    options: list[str],
    *,
    trials: int,
    epochs: int,
    node_kills: int,
    worker_kills: int,
    seed: int,
) -> ChaosReport:
    """Run a study on the nodes, and kill at moments of its progress that the seed chooses."""
    dice, paths = random.Random(seed), study_of(machines.workspace)
    n_nodes, gate = len(machines.nodes), _folder_of(options, GATE)
    kinds = ["node"] * node_kills + ["worker"] * worker_kills
    dice.shuffle(kinds)
    # Until then no worker is idle: at least as many trials as nodes are unfinished.
    last = epochs * (trials - n_nodes)
    moments = sorted(dice.randint(1, last) for _ in kinds)
    words = ("--trials", str(trials), "--workspace", str(machines.workspace))
    started, done = time.monotonic(), {"node": 0, "worker": 0}
    n_before = count_passes(options)
    log = machines.folder / "controller.log"
    with log.open("w", encoding="utf-8") as output:
        process = machines.command(
            *options, *words, "--workers", str(n_nodes), *CLUSTER, output=output
        )
    while process.poll() is None and time.monotonic() - started < RUN_S:
        n_done = len(epoch_lines(paths))
        if moments and n_done >= last:
            gate.touch()
        if moments and n_done >= moments[0]:
            time.sleep(dice.uniform(0.0, 0.5))  # anywhere in an epoch, or in a start
            if _kill_one(machines, kinds[0], dice):
                done[kinds.pop(0)] += 1
                moments.pop(0)
        if not moments:
            gate.unlink(missing_ok=True)
        time.sleep(0.05)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()
    return ChaosReport(
        process.returncode,
        log.read_text(encoding="utf-8"),
        results_of(paths),
        done["node"],
        done["worker"],
        count_passes(options) - n_before,
        time.monotonic() - started,
    )


def _folder_of(options: list[str], name: str) -> Path:
    return Path(options[options.index("--space") + 1]).with_name(name)


def _kill_one(machines: RayMachines, kind: str, dice: random.Random) -> bool:
    """Kill a node, and start another one instead; or a worker. False if there is none now."""
    if kind == "node":
        machines.kill_node(dice.choice(sorted(machines.nodes)))
        machines.add_node(wait=False)
        return True
    workers = machines.workers()
    if not workers:
        return False
    with suppress(psutil.NoSuchProcess):
        dice.choice(workers).send_signal(signal.SIGKILL)
    return True
