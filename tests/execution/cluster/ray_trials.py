"""Trials of the writing worker on a Ray cluster, as a test follows and disturbs them."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from harness.core.paths import TrialPaths
from harness.core.records import read_epochs
from tests.execution.cluster.machines import RayMachines
from tests.execution.cluster.writing_worker import WEIGHTS_BYTES, step, value_of

DRIVER = "tests.execution.cluster.ray_driver"
WORKER_MODULE = "tests.execution.cluster.writing_worker"
WAIT_S = 180.0


class RayTrials:
    """Events and lines of `ray_driver`, in their order."""

    def __init__(
        self, machines: RayMachines, folder: Path, process: "subprocess.Popen[str]"
    ) -> None:
        self.machines, self.folder, self.process = machines, folder, process
        self.events: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait(self, condition: Callable[[], Any], seconds: float = WAIT_S) -> Any:
        """Wait for a condition that is not false, and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if outcome := condition():
                return outcome
            time.sleep(0.05)
        raise AssertionError(self.story())

    def wait_for_end(self) -> None:
        """Wait for the driver's own end, which must be without error."""
        assert self.process.wait(WAIT_S) == 0, self.story()
        self._thread.join()

    def close(self) -> None:
        """Close the pipe of the driver, which has ended."""
        self._thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def of_kind(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """Events of a kind with these fields."""
        return [
            event
            for event in list(self.events)
            if event["kind"] == kind and fields.items() <= event.items()
        ]

    def hosts(self) -> dict[int, str]:
        """Host of each trial, where it began last."""
        return {event["number"]: event["host"] for event in self.of_kind("started")}

    def line(self, part: str) -> str | None:
        """The first line for the user that contains a text."""
        return next((line for line in list(self.lines) if part in line), None)

    def story(self) -> str:
        """All that was seen, for a failed test."""
        said = "\n".join([*self.lines, *map(str, self.events[-40:])])
        return f"{said}\n{self.machines.log(DRIVER)[-4000:]}"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self.events.append(json.loads(line))
            else:
                self.lines.append(line.removeprefix("say ").rstrip())


@contextmanager
def ray_trials(
    machines: RayMachines,
    name: str = "study",
    *,
    variables: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[RayTrials]:
    """Start trials in a folder of the workspace, see `ray_driver`; they are killed at the end."""
    folder = machines.workspace / name
    process = machines.module(DRIVER, str(folder), json.dumps(options), **(variables or {}))
    trials = RayTrials(machines, folder, process)
    try:
        yield trials
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        trials.close()


def values_of(trials: RayTrials, number: int) -> list[float]:
    """Values in the log of a trial on the controller's disk."""
    trial = TrialPaths(trials.folder / f"{number:04d}")
    return [line["val/dice_loss"] for line in read_epochs(trial)]


def expected_values(n_epochs: int) -> list[float]:
    """Values of an undisturbed training; each depends on all epochs before it."""
    weights, values = bytes(WEIGHTS_BYTES), []
    for _ in range(n_epochs):
        weights = step(weights)
        values.append(value_of(weights))
    return values


def actor_processes(machines: RayMachines, name: str) -> list[psutil.Process]:
    """Processes of an actor, e.g. FilesActor, anywhere in the cluster."""
    groups = [machines.head_tree(), *(machines.tree(number) for number in machines.nodes)]
    found = []
    for process in (process for group in groups for process in group):
        with suppress(psutil.NoSuchProcess):
            if f"ray::{name}" in " ".join(process.cmdline()):
                found.append(process)
    return found
