"""A warm process that trains one trial after another: `python -m harness.execution.worker`.

It reads orders from standard input and writes events to what was its standard output; anything
that prints lands in the worker's log instead. It ends when standard input closes, so it cannot
outlive its controller. It never touches a database.
"""

import gc
import json
import os
import signal
import sys
from functools import lru_cache
from pathlib import Path

# All weights were fetched before trial 0; to look for more only hangs on a dead network.
os.environ["HF_HUB_OFFLINE"] = "1"

from harness.execution.lifeline import prepare_process

if __name__ == "__main__":
    prepare_process()  # the imports below take seconds

import cv2

from harness.data.cache import ImageCache, open_cache
from harness.data.resize import Fit
from harness.data.splits import read_split
from harness.data_config import StudyDataConfig
from harness.errors import ConfigError
from harness.execution.causes import full_folder, sort_failure
from harness.execution.channel import Channel, private_stdout
from harness.execution.protocol import (
    Ended,
    EpochDone,
    Failed,
    Squeezed,
    Started,
    TrialTask,
    metrics_of,
)
from harness.parts_files import load_packages, read_parts, use_parts
from harness.paths import TrialPaths
from harness.training.device import describe, pick_device, pick_precision
from harness.training.fit import fit
from harness.training.memory import release_memory


def main() -> None:
    """Serve until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controller's to handle
    cv2.setNumThreads(0)  # OpenCV's threads beside torch's can hang, and fight for the same cores
    channel = Channel(sys.stdin.buffer, private_stdout())
    channel.leaving.listen()
    # Imports leave half a million objects, through which every collection would go: 0.24 s, at the
    # beginning and at the end of each trial. Those of a trial alone are a matter of milliseconds.
    gc.freeze()
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
        same = {"number": task["number"], "attempt": task["attempt"]}
        channel.send(Failed(failure=failure, full=full_folder(error), **same))
    finally:
        leaving.busy = False
        leaving.leave_if_noticed()
        release_memory()


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
        attempt=task.attempt,
        micro_batch=task.micro_batch,
        on_micro_batch=lambda n: channel.send(Squeezed(micro_batch=n, **same)),
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


if __name__ == "__main__":
    main()
