"""A worker's end of the pipe: orders in, events out; nothing heavy is imported here."""

import json
import os
import queue
import threading
from typing import BinaryIO

from harness.execution.preemption import PreemptionHandler
from harness.execution.protocol import (
    Decision,
    EpochReply,
    EpochReport,
    ProtocolMessage,
    encode_message,
)


class WorkerChannel:
    """Orders in, events out."""

    def __init__(self, orders: BinaryIO, events: BinaryIO) -> None:
        self._orders = orders
        self._events = events
        self._tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[EpochReply] = queue.SimpleQueue()
        self._send_lock = threading.Lock()
        self.preemption = PreemptionHandler()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, message: ProtocolMessage) -> None:
        with self._send_lock:
            self._events.write(encode_message(message))
            self._events.flush()

    def next_task_line(self) -> bytes:
        """The line of the next task; `read_task` reads it."""
        return self._tasks.get()

    def report_epoch(self, report: EpochReport) -> Decision:
        """Report an epoch and wait for the answer."""
        self.send(report)
        while (answer := self._answers.get()).number != report.number:
            pass  # an answer to a trial that has ended meanwhile
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
        os._exit(0)  # the controller is gone; nobody is left to report to


def redirect_stdout_to_log() -> BinaryIO:
    """The real standard output, kept from everyone else: their prints go to the log."""
    event_descriptor = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(event_descriptor, "wb")
