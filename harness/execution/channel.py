"""A worker's end of the pipe: orders in, events out; nothing heavy is imported here."""

import json
import os
import queue
import threading
from typing import BinaryIO

from harness.execution.leaving import Leaving
from harness.execution.protocol import Answer, Decision, EpochDone, _Message, to_line


class Channel:
    """Orders in, events out."""

    def __init__(self, orders: BinaryIO, events: BinaryIO) -> None:
        self._orders = orders
        self._events = events
        self._tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self.leaving = Leaving()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, message: _Message) -> None:
        with self._sending:
            self._events.write(to_line(message))
            self._events.flush()

    def next_order(self) -> bytes:
        """The line of the next task; `read_task` reads it."""
        return self._tasks.get()

    def ask(self, report: EpochDone) -> Decision:
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
                    self.leaving.asked = True
                case _:
                    self._answers.put(Answer.model_validate_json(line))
        os._exit(0)  # the controller is gone; nobody is left to report to


def private_stdout() -> BinaryIO:
    """The real standard output, kept from everyone else: their prints go to the log."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")
