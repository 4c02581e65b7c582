"""A warm process that trains one trial after another: `python -m harness.execution.worker`.

It reads orders from standard input and writes events to what was its standard output; anything
that prints lands in the worker's log instead. It ends when standard input closes, so it cannot
outlive its controller. It never touches a database.
"""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

# All weights were fetched before trial 0; to look for more only hangs on a dead network.
os.environ["HF_HUB_OFFLINE"] = "1"

import cv2
import torch

from harness.data.cache import ImageCache, open_cache
from harness.data.resize import Fit
from harness.data.splits import read_split
from harness.data_config import StudyDataConfig
from harness.errors import ConfigError, DataError, UserError
from harness.execution.leaving import Leaving
from harness.execution.protocol import (
    Answer,
    Decision,
    Ended,
    EpochDone,
    Failed,
    Started,
    TrialTask,
    _Message,
    metrics_of,
    to_line,
)
from harness.parts_files import load_packages, read_parts, use_parts
from harness.paths import TrialPaths
from harness.records import Failure
from harness.training.device import describe, pick_device, pick_precision
from harness.training.fit import DivergedError, fit


class Channel:
    """Orders in, events out."""

    def __init__(self, orders: BinaryIO, events: BinaryIO) -> None:
        self._orders = orders
        self._events = events
        self._tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.leaving = Leaving()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, message: _Message) -> None:
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


def main() -> None:
    """Serve until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controller's to handle
    cv2.setNumThreads(0)  # OpenCV's threads beside torch's can hang, and fight for the same cores
    channel = Channel(sys.stdin.buffer, _private_stdout())
    channel.leaving.listen()
    while True:
        serve(channel.next_order(), channel)


def serve(order: bytes, channel: Channel) -> None:
    """Train one trial; whatever goes wrong becomes a `Failed`."""
    leaving = channel.leaving
    leaving.busy = True
    try:
        ended = train(read_task(order), channel)
        if ended.outcome == "stopped":
            leaving.leave_if_noticed()
        channel.send(ended)
    except Exception as error:
        failure, task = sort_failure(error), json.loads(order)
        channel.send(Failed(number=task["number"], attempt=task["attempt"], failure=failure))
    finally:
        leaving.busy = False
        leaving.leave_if_noticed()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def read_task(order: bytes) -> TrialTask:
    """The task of a line; before that, the parts that its configuration may name.

    Raises:
        ConfigError: the file of parts is broken, or another than the study began with.
    """
    head = json.loads(order)
    load_packages()  # of broken ones the controller has told
    file = None if head["parts"] is None else read_parts(Path(head["parts"]))
    if file is not None and head["parts_sha256"] not in (None, file.sha256):
        raise ConfigError(f"{file.path}: has changed since the study began; put it back")
    use_parts(file)
    return TrialTask.model_validate_json(order)


def train(task: TrialTask, channel: Channel) -> Ended:
    """Train one trial to its end, reporting each epoch."""
    device = pick_device(task.device)
    precision = pick_precision(task.config.train.precision, device)
    same = {"number": task.number, "attempt": task.attempt}
    channel.send(
        Started(
            number=task.number,
            attempt=task.attempt,
            device=describe(device),
            precision=precision,
        )
    )
    images, names = _images(
        task.data_root,
        task.split_csv,
        task.cache,
        task.config.data.height_width,
        task.config.data.fit,
        task.data.model_dump_json(),
        task.max_pixels,
    )
    result = fit(
        task.config,
        images,
        names=names,
        paths=TrialPaths(task.trial_dir),
        seed=task.seed,
        device=device,
        precision=precision,
        objective=task.objective,
        augments=task.augments,
        halt=lambda: channel.leaving.asked,
        on_epoch=lambda line: channel.ask(EpochDone(metrics=metrics_of(line), **same)),
    )
    return Ended(
        number=task.number,
        attempt=task.attempt,
        outcome=result.outcome,
        value=result.value,
        best_epoch=result.best_epoch,
        best=result.best,
        costs=result.costs,
        class_weights=result.class_weights,
    )


@lru_cache(maxsize=2)
def _images(
    root: Path,
    split_csv: Path,
    folder: Path,
    size: tuple[int, int],
    fit: Fit,
    data_json: str,
    max_pixels: float,
) -> tuple[ImageCache, dict[int, str]]:
    """The cached images of a study, kept open from trial to trial, and their names by row."""
    rows = read_split(split_csv)
    data = StudyDataConfig.model_validate_json(data_json)  # text is hashable, for lru_cache
    cache = open_cache(root, rows, data, size=size, fit=fit, folder=folder, max_pixels=max_pixels)
    return cache, {number: row.image for number, row in enumerate(rows)}


def sort_failure(error: BaseException) -> Failure:
    """The cause of a failure, in one word, with its message and traceback."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        cause = "out_of_memory"
    elif isinstance(error, DivergedError):
        cause = "diverged"
    elif isinstance(error, DataError):
        cause = "bad_data"
    elif isinstance(error, UserError):
        cause = "bad_configuration"
    elif isinstance(error, OSError) and error.errno == 28:  # ENOSPC
        cause = "disk_full"
    else:
        cause = "crashed"
    text = "".join(traceback.format_exception(error))
    return Failure(cause=cause, message=f"{type(error).__name__}: {error}", traceback=text[-8000:])


def _private_stdout() -> BinaryIO:
    """The real standard output, kept from everyone else: their prints go to the log."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")


if __name__ == "__main__":
    main()
