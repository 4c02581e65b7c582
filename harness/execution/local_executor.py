"""Executor that trains on this machine, with one warm worker process per slot."""

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from harness.execution.oom_kills import count_oom_kills
from harness.execution.prestart import MODULE, PrestartedWorker, start_worker_process
from harness.execution.protocol import (
    EVENT_ADAPTER,
    Decision,
    EpochReply,
    Event,
    StopRequest,
    TrialFailed,
    TrialFinished,
    TrialTask,
    WorkerDied,
    encode_message,
)
from harness.execution.slots import VISIBLE_DEVICES, Slot, shares_gpu

# Length of the log of a dead worker that a failure quotes. A fatal signal makes faulthandler list
# all extension modules after the traceback: with torch imported that is half of these characters.
LOG_TAIL_CHARS = 8000
# After these causes a process is not used again: fragmented or leaked memory, or an exception that
# left a library in an unknown state, could fail the next trial as well.
TAINTING_CAUSES = ("out_of_memory", "host_out_of_memory", "shared_memory", "crashed")
LOG_TAIL_WAIT_S = 1.0  # for the output of a prestarted worker, which arrives through a pipe
ABORT_S = 3.0  # for a worker to write its stacks to the log and end


class LocalExecutor:
    """Train trials in worker processes, each started when its slot is first used.

    Args:
        log: file to which the worker of a slot writes its output, by index of the slot.
        slots: one worker process each.
        module: module that a worker process runs.
        prestarted: a worker process that is running already; it serves the first slot, if it runs
            the same module and the slot needs no environment of its own.
    """

    def __init__(
        self,
        log: Callable[[int], Path],
        *,
        slots: Sequence[Slot] = (Slot("auto"),),
        module: str = MODULE,
        prestarted: PrestartedWorker | None = None,
    ) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        self._max_per_gpu: int | None = None
        self._workers = [
            _WorkerProcess(
                log(index), slot, module, self._events, shares_gpu=shares_gpu(slot, slots)
            )
            for index, slot in enumerate(slots)
        ]
        if prestarted is not None and prestarted.module == module and not slots[0].environment:
            self._workers[0].prestarted = prestarted

    @property
    def slots(self) -> int:
        # A trial that was started before the limit fell is finished, so that it counts.
        free = self._free_workers()
        return sum(worker.task is not None for worker in self._workers) + len(free)

    def limit_per_gpu(self, n: int) -> None:
        """Train at most `n` trials on each GPU from now on; running ones are finished."""
        self._max_per_gpu = n
        self._end_surplus_workers()

    @property
    def waiting(self) -> frozenset[int]:
        return frozenset()

    def warm_up(self) -> None:
        """Start the workers now, so that their imports are over when the first tasks arrive."""
        for worker in self._workers:
            worker.warm_up()

    def start(self, task: TrialTask) -> None:
        self._end_surplus_workers()
        # None is free if the limit has fallen and this trial has lost its worker: it continues.
        idle = self._free_workers() or [w for w in self._workers if w.task is None]
        idle[0].start(task)

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def answer(self, number: int, decision: Decision) -> None:
        for worker in self._workers_of(number):
            worker.send(encode_message(EpochReply(number=number, decision=decision)))

    def kill_trial(self, number: int) -> str:
        return "".join(worker.abort() for worker in self._workers_of(number))

    def request_stop(self) -> None:
        for worker in self._workers:
            if worker.task is not None:
                worker.send(encode_message(StopRequest()))

    def preempt(self) -> None:
        """Announce a pre-emption to every worker: each saves its trial, and ends by SIGTERM."""
        for worker in self._workers:
            worker.preempt()

    def close(self) -> None:
        for worker in self._workers:
            worker.end()

    def _free_workers(self) -> "list[_WorkerProcess]":
        """Idle workers that may start together; the GPU of each has room for its trial."""
        n_trials = Counter(worker.gpu for worker in self._workers if worker.task is not None)
        free = []
        for worker in self._workers:
            if worker.task is None and (
                self._max_per_gpu is None or n_trials[worker.gpu] < self._max_per_gpu
            ):
                n_trials[worker.gpu] += 1
                free.append(worker)
        return free

    def _end_surplus_workers(self) -> None:
        """End idle workers above the limit, whose processes hold memory of their GPU."""
        n_workers: Counter[str | None] = Counter()
        for worker in self._workers:
            n_workers[worker.gpu] += 1
            is_surplus = self._max_per_gpu is not None and n_workers[worker.gpu] > self._max_per_gpu
            if is_surplus and worker.task is None:
                worker.end()

    def _workers_of(self, number: int) -> "list[_WorkerProcess]":
        # A reader thread may set worker.task to None at any moment: read each of them once.
        tasks = [(worker, worker.task) for worker in self._workers]
        return [worker for worker, task in tasks if task is not None and task.number == number]


class _WorkerProcess:
    """Process of one slot, with its current task and a thread that reads its events."""

    def __init__(
        self,
        log: Path,
        slot: Slot,
        module: str,
        events: "queue.Queue[Event]",
        *,
        shares_gpu: bool,
    ) -> None:
        self._log, self._slot, self._module, self._events = log, slot, module, events
        self._shares_gpu = shares_gpu
        self.gpu = slot.environment.get(VISIBLE_DEVICES)  # the only one that it sees; None: all
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._tainted = False  # its last trial failed with a tainting cause
        # Between a new task and a process that ends at that moment: without it the task could be
        # given to a process whose reader has finished, and its death would never be reported.
        self._lock = threading.Lock()
        self._reading = False
        self.prestarted: PrestartedWorker | None = None
        self._log_copier: threading.Thread | None = None
        self._log_offset = 0  # bytes of the log that earlier processes wrote
        self._oom_kills: int | None = None
        self.task: TrialTask | None = None

    def start(self, task: TrialTask) -> None:
        shares_gpu = self._shares_gpu or task.shares_gpu  # of a node: with other executors
        task = task.model_copy(update={"shares_gpu": shares_gpu})
        if self._slot.device != "auto":
            task = task.model_copy(update={"device": self._slot.device})
        with self._lock:
            is_reusable = self._reading and not self._tainted
            if is_reusable:
                self.task = task  # from now on the end of the process is reported as WorkerDied
        if not is_reusable:
            self.end()
            self.task = task
            self._launch()
        self.send(encode_message(task))

    def warm_up(self) -> None:
        """Start the process, unless there is one; the first task finds it or a new one."""
        if self._process is None:
            self._launch()

    def send(self, line: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # it has just died; its reader reports that

    def abort(self) -> str:
        """End the process with its stacks in the log, and return the end of that log."""
        process, self.task = self._process, None  # without a task its end is not reported
        if process is not None:
            # faulthandler writes the stacks even while C code holds the interpreter. A process that
            # was stopped (SIGSTOP) receives SIGABRT only when it is continued: `end` kills it.
            process.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ABORT_S)
        self.end()
        return self._log_tail()

    def preempt(self) -> None:
        if self._process is not None and self.task is not None:
            self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Kill the process and its children; when this returns, they can write nothing more."""
        process, self._process, self.task = self._process, None, None
        self._tainted = False
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # start_new_session made it a leader
        process.kill()
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):  # messages still in the buffer are lost
                process.stdin.close()
        if self._reader is not None:
            self._reader.join()

    def _launch(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._oom_kills = count_oom_kills()
        with self._log.open("ab") as log:
            self._log_offset = log.tell()
            prestarted, self.prestarted = self.prestarted, None
            handed_over = None if prestarted is None else prestarted.hand_over(self._log)
            process, self._log_copier = handed_over or (
                start_worker_process(self._module, self._slot.environment, log),
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
                    event = EVENT_ADAPTER.validate_json(line)
                except ValidationError:
                    continue  # the incomplete last line of a process that was killed
                if isinstance(event, TrialFinished | TrialFailed):
                    self._tainted = (
                        isinstance(event, TrialFailed) and event.failure.cause in TAINTING_CAUSES
                    )
                    self.task = None
                self._events.put(event)
        exit_code = process.wait()
        with self._lock:
            self._reading = False
            task, self.task = self.task, None
        if task is not None and process is self._process:
            self._events.put(self._death_event(task, exit_code))

    def _death_event(self, task: TrialTask, exit_code: int) -> WorkerDied:
        kills = count_oom_kills()
        return WorkerDied(
            number=task.number,
            attempt=task.attempt,
            exit_code=exit_code,
            log_tail=self._log_tail(),
            out_of_memory=None not in (kills, self._oom_kills) and kills != self._oom_kills,
        )

    def _log_tail(self) -> str:
        if self._log_copier is not None:
            self._log_copier.join(LOG_TAIL_WAIT_S)
        return read_log_tail(self._log, self._log_offset)


def read_log_tail(log: Path, offset: int) -> str:
    """Read the end of a log, of the part after `offset` bytes."""
    with log.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(offset, size - 4 * LOG_TAIL_CHARS))
        return handle.read().decode("utf-8", errors="replace")[-LOG_TAIL_CHARS:]
