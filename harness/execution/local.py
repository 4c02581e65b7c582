"""Workers on this machine: one warm process per slot."""

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from harness.execution.protocol import (
    EVENT,
    Answer,
    Decision,
    Ended,
    Event,
    Failed,
    TrialTask,
    Vanished,
    WindUp,
    to_line,
)

MODULE = "harness.execution.worker"
LAST_WORDS = 2000  # characters of a vanished worker's log


class LocalExecutor:
    """Trains on this machine, in worker processes that are started when first needed.

    Args:
        slots: how many trials run at once.
        log: where the worker of a slot writes what it prints.
        module: what a worker process runs.
    """

    def __init__(self, log: Callable[[int], Path], *, slots: int = 1, module: str = MODULE) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        self._workers = [_Worker(log(slot), module, self._events) for slot in range(slots)]

    @property
    def slots(self) -> int:
        return len(self._workers)

    def start(self, task: TrialTask) -> None:
        next(worker for worker in self._workers if worker.task is None).start(task)

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def answer(self, number: int, decision: Decision) -> None:
        for worker in self._workers:
            if worker.task is not None and worker.task.number == number:
                worker.send(to_line(Answer(number=number, decision=decision)))

    def wind_up(self) -> None:
        for worker in self._workers:
            if worker.task is not None:
                worker.send(to_line(WindUp()))

    def close(self) -> None:
        for worker in self._workers:
            worker.end()


class _Worker:
    """One slot: a process, the task it holds, and a thread that reads its events."""

    def __init__(self, log: Path, module: str, events: "queue.Queue[Event]") -> None:
        self._log = log
        self._module = module
        self._events = events
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self.task: TrialTask | None = None

    def start(self, task: TrialTask) -> None:
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._process = self._launch()
        self.task = task
        self.send(to_line(task))

    def send(self, line: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # it has just died; its reader says so

    def end(self) -> None:
        process, self._process, self.task = self._process, None, None
        if process is None:
            return
        process.kill()
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):  # what was still to be written to it is lost
                process.stdin.close()
        if self._reader is not None:
            self._reader.join()

    def _launch(self) -> "subprocess.Popen[bytes]":
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # a Ctrl-C in the terminal reaches the controller alone
            )
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()
        return process

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                event = EVENT.validate_json(line)
                if isinstance(event, Ended | Failed):
                    self.task = None
                self._events.put(event)
        exit_code = process.wait()
        task, self.task = self.task, None
        if task is not None and process is self._process:
            self._events.put(
                Vanished(
                    number=task.number,
                    attempt=task.attempt,
                    exit_code=exit_code,
                    last_words=_tail(self._log),
                )
            )


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return text[-LAST_WORDS:]
