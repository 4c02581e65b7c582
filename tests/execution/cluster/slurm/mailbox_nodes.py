"""Nodes of a mailbox that are started by hand, and a loop that answers like a controller."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from harness.execution.protocol import (
    Decision,
    EpochReport,
    Event,
    Executor,
    TrialFailed,
    TrialFinished,
    WorkerDied,
)

NODE = "harness.execution.cluster.slurm.node"
WAIT_S = 120.0


def start_node(run: Path, **environment: str) -> "subprocess.Popen[bytes]":
    """A node as a job would start it, but outside of Slurm."""
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", NODE, str(run)], env=os.environ | threads | environment
    )


def kill_node(node: "subprocess.Popen[bytes]") -> None:
    """SIGKILL to the process of a node; the kernel ends its worker."""
    node.kill()
    node.wait()


def workers_of(node: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(node.pid).children()
        if "harness.training.worker.worker" in " ".join(child.cmdline())
    ]


def kill_workers(node: "subprocess.Popen[bytes]") -> None:
    for worker in workers_of(node):
        os.kill(worker.pid, signal.SIGKILL)


def drive(
    executor: Executor,
    numbers: set[int],
    on_epoch: Callable[[int, int], Decision] = lambda *_: "continue",
) -> dict[int, list[Event]]:
    """Answer each epoch until all trials have had a last event; the events by trial."""
    events: dict[int, list[Event]] = {number: [] for number in numbers}
    open_numbers, end = set(numbers), time.monotonic() + WAIT_S
    while open_numbers and time.monotonic() < end:
        event = executor.next_event(0.5)
        if event is None:
            continue
        events[event.number].append(event)
        if isinstance(event, EpochReport):
            executor.answer(event.number, on_epoch(event.number, event.epoch))
        if isinstance(event, TrialFinished | TrialFailed | WorkerDied):
            open_numbers.discard(event.number)
    assert not open_numbers, f"no end came of {open_numbers} after {events}"
    return events
