"""Workers on this machine: one warm process per slot."""

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from harness.execution.early import MODULE, Early, start_process
from harness.execution.memory import oom_kills
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
from harness.execution.slots import Slot

LAST_WORDS = 8000  # characters of a vanished worker's log; torch's list of modules takes half
# Causes after which a process is not used again: what they leave behind may spoil the next trial.
SPOILT = ("out_of_memory", "host_out_of_memory", "shared_memory", "crashed")
LAST_WORDS_S = 1.0  # for those of an early worker, which come through a pipe
ABORT_S = 3.0  # for a worker that is to write its stacks and end


class LocalExecutor:
    """Trains on this machine, in worker processes that are started when first needed.

    Args:
        slots: how many trials run at once, and on what.
        log: where the worker of a slot writes what it prints.
        module: what a worker process runs.
        early: a worker that was started already: of the first slot, if it runs the same module and
            the slot needs no environment of its own.
    """

    def __init__(
        self,
        log: Callable[[int], Path],
        *,
        slots: Sequence[Slot] = (Slot("auto"),),
        module: str = MODULE,
        early: Early | None = None,
    ) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        self._workers = [
            _Worker(log(index), slot, module, self._events) for index, slot in enumerate(slots)
        ]
        if early is not None and early.module == module and not slots[0].environment:
            self._workers[0].early = early

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
        for worker in self._holding(number):
            worker.send(to_line(Answer(number=number, decision=decision)))

    def abandon(self, number: int) -> str:
        return "".join(worker.abort() for worker in self._holding(number))

    def wind_up(self) -> None:
        for worker in self._workers:
            if worker.task is not None:
                worker.send(to_line(WindUp()))

    def close(self) -> None:
        for worker in self._workers:
            worker.end()

    def _holding(self, number: int) -> "list[_Worker]":
        held = [(worker, worker.task) for worker in self._workers]  # readers empty them meanwhile
        return [worker for worker, task in held if task is not None and task.number == number]


class _Worker:
    """One slot: a process, the task it holds, and a thread that reads its events."""

    def __init__(self, log: Path, slot: Slot, module: str, events: "queue.Queue[Event]") -> None:
        self._log, self._slot, self._module, self._events = log, slot, module, events
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._spoilt = False  # by what went wrong in it: the next trial gets a fresh one
        self._lock = threading.Lock()  # between a new task and a process that ends just then
        self._reading = False
        self.early: Early | None = None
        self._copier: threading.Thread | None = None
        self._log_begin = 0  # bytes of the log that are of earlier processes
        self._oom_kills: int | None = None
        self.task: TrialTask | None = None

    def start(self, task: TrialTask) -> None:
        if self._slot.device != "auto":
            task = task.model_copy(update={"device": self._slot.device})
        with self._lock:
            warm = self._reading and not self._spoilt
            if warm:
                self.task = task  # from now on an end of the process is a vanishing
        if not warm:
            self.end()
            self.task = task
            self._launch()
        self.send(to_line(task))

    def send(self, line: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # it has just died; its reader says so

    def abort(self) -> str:
        """End the process, with its stacks in the log; the last words of that log."""
        process, self.task = self._process, None  # without a task its end is no vanishing
        if process is not None:
            # faulthandler writes the stacks, whatever the process is busy with. One that is
            # stopped gets the signal only when it is woken, and that never happens.
            process.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ABORT_S)
        self.end()
        return self._last_words()

    def end(self) -> None:
        """Kill the process and what it has started; afterwards it writes nothing any more."""
        process, self._process, self.task = self._process, None, None
        self._spoilt = False
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
        process.kill()
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):  # what was still to be written to it is lost
                process.stdin.close()
        if self._reader is not None:
            self._reader.join()

    def _launch(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._oom_kills = oom_kills()
        with self._log.open("ab") as log:
            self._log_begin = log.tell()
            early, self.early = self.early, None
            taken = None if early is None else early.take(self._log)
            process, self._copier = taken or (
                start_process(self._module, self._slot.environment, log),
                None,
            )
        self._process, self._reading = process, True
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                try:
                    event = EVENT.validate_json(line)
                except ValidationError:
                    continue  # the torn last line of a process that was killed
                if isinstance(event, Ended | Failed):
                    self._spoilt = isinstance(event, Failed) and event.failure.cause in SPOILT
                    self.task = None
                self._events.put(event)
        exit_code = process.wait()
        with self._lock:
            self._reading = False
            task, self.task = self.task, None
        if task is not None and process is self._process:
            self._events.put(self._vanished(task, exit_code))

    def _vanished(self, task: TrialTask, exit_code: int) -> Vanished:
        kills = oom_kills()
        return Vanished(
            number=task.number,
            attempt=task.attempt,
            exit_code=exit_code,
            last_words=self._last_words(),
            out_of_memory=None not in (kills, self._oom_kills) and kills != self._oom_kills,
        )

    def _last_words(self) -> str:
        if self._copier is not None:
            self._copier.join(LAST_WORDS_S)
        return _tail(self._log, self._log_begin)


def _tail(log: Path, begin: int) -> str:
    """The last words of a log, of what was written after `begin` bytes."""
    with log.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(begin, size - 4 * LAST_WORDS))
        return handle.read().decode("utf-8", errors="replace")[-LAST_WORDS:]
