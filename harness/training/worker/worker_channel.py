"""Worker's end of the connection: orders in, events out, and requests to stop.

Apart from the worker, since the scripted workers of tests and benchmarks use it without torch.
"""

import json
import os
import queue
import signal
import threading
from types import FrameType
from typing import BinaryIO

from harness.execution.protocol import (
    Decision,
    EpochReply,
    EpochReport,
    ProtocolMessage,
    encode_message,
)


class WorkerChannel:
    """Reads orders on a thread of its own, and sends events.

    Attributes:
        preemption: requests to stop, by an order or a signal.
    """

    def __init__(self, orders: BinaryIO, events: BinaryIO) -> None:
        self._orders = orders
        self._events = events
        self._tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[EpochReply] = queue.SimpleQueue()
        self._send_lock = threading.Lock()
        self.preemption = PreemptionHandler()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, message: ProtocolMessage) -> None:
        # The trainer's thread and the epoch reporter's both send; two lines must not mix.
        with self._send_lock:
            self._events.write(encode_message(message))
            self._events.flush()

    def next_task_line(self) -> bytes:
        """Wait for the next task and return its line, which `read_task` parses."""
        return self._tasks.get()

    def report_epoch(self, report: EpochReport) -> Decision:
        """Report an epoch and wait for the decision."""
        self.send(report)
        while (answer := self._answers.get()).number != report.number:
            pass  # the answer belongs to a trial that has ended in the meantime
        return answer.decision

    def _read(self) -> None:
        for line in self._orders:
            match json.loads(line)["kind"]:
                case "task":
                    self._tasks.put(line)
                case "wind_up":
                    self.preemption.stop_requested = True
                case _:
                    self._answers.put(EpochReply.model_validate_json(line))
        # The controller is gone. Not sys.exit, which would end this thread alone.
        os._exit(0)


def redirect_stdout_to_log() -> BinaryIO:
    """Return the real standard output, and send everything that prints to it to the log.

    By descriptors, so that output of C libraries is covered, too.
    """
    # The order matters: dup first, since dup2 closes the original descriptor 1.
    event_descriptor = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(event_descriptor, "wb")


class PreemptionHandler:
    """State of a pre-emption: whether the training must stop at the next step.

    SIGTERM and SIGUSR1 announce a pre-emption (Slurm sends either, see `--signal`). A worker that
    is training saves its trial first and then dies by SIGTERM, so that the controller sees the same
    exit code as for any other pre-empted worker.

    Attributes:
        stop_requested: stop at the next step, and save.
        is_training: a trial is being trained; otherwise a signal ends the process immediately.
    """

    def __init__(self) -> None:
        self.stop_requested = self.is_training = self._signal_received = False

    def install_handlers(self) -> None:
        """Install the signal handlers; Python allows this on the main thread alone."""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._on_signal)

    def exit_if_preempted(self) -> None:
        """End this process if a signal has arrived."""
        if self._signal_received:
            # With the default action instead of sys.exit: the exit code is then -SIGTERM, which
            # `search.run.failures` counts as a pre-emption and not as a lost attempt.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signal_received = self.stop_requested = True
        if not self.is_training:
            self.exit_if_preempted()
