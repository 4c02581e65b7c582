"""A warm process that trains one trial after another: `python -m harness.training.worker.worker`.

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

from harness.data.datasets.sources import open_source
from harness.training.worker.parent_death import bind_to_parent

if __name__ == "__main__":
    bind_to_parent()  # the imports below take seconds

import cv2

from harness.config.data import StudyDataConfig
from harness.config.user_code import read_parts_file, register_packages, register_parts_file
from harness.core.errors import ConfigError
from harness.core.paths import TrialPaths
from harness.data.files.resize import Fit
from harness.data.loading.image_cache import ImageCache, open_cache
from harness.data.splits.splits import read_split
from harness.execution.protocol import (
    EpochReport,
    MicroBatchReduced,
    TrialFailed,
    TrialFinished,
    TrialStarted,
    TrialTask,
    numeric_values,
)
from harness.training.hardware.batch_splitting import release_memory
from harness.training.hardware.device import describe_device, pick_device, pick_precision
from harness.training.loop.fit import fit_trial
from harness.training.loop.setup import TrainingInputs
from harness.training.worker.failure_causes import classify_failure, find_full_folder
from harness.training.worker.worker_channel import WorkerChannel, redirect_stdout_to_log


def main() -> None:
    """Serve until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controller's to handle
    cv2.setNumThreads(0)  # OpenCV's threads beside torch's can hang, and fight for the same cores
    channel = WorkerChannel(sys.stdin.buffer, redirect_stdout_to_log())
    channel.preemption.install_handlers()
    # Imports leave half a million objects, through which every collection would go: 0.24 s, at the
    # beginning and at the end of each trial. Those of a trial alone are a matter of milliseconds.
    gc.freeze()
    while True:
        serve_task(channel.next_task_line(), channel)


def serve_task(task_line: bytes, channel: WorkerChannel) -> None:
    """Train one trial; whatever goes wrong becomes a `Failed`."""
    preemption = channel.preemption
    preemption.is_training = True
    try:
        finished = run_task(read_task(task_line), channel)
        if finished.result.outcome == "stopped":
            preemption.exit_if_preempted()
        channel.send(finished)
    except Exception as error:
        failure, task = classify_failure(error), json.loads(task_line)
        trial_ids = {"number": task["number"], "attempt": task["attempt"]}
        channel.send(TrialFailed(failure=failure, full_folder=find_full_folder(error), **trial_ids))
    finally:
        preemption.is_training = False
        preemption.exit_if_preempted()
        release_memory()


def read_task(task_line: bytes) -> TrialTask:
    """The task of a line; before that, the parts that its configuration may name.

    Raises:
        ConfigError: the file of parts is broken, or another than the study began with.
    """
    task_fields = json.loads(task_line)
    register_packages()  # of broken ones the controller has told
    parts_file = (
        None if task_fields["parts"] is None else read_parts_file(Path(task_fields["parts"]))
    )
    if parts_file is not None and task_fields["parts_sha256"] not in (None, parts_file.sha256):
        raise ConfigError(f"{parts_file.path}: has changed since the study began; put it back")
    register_parts_file(parts_file)
    return TrialTask.model_validate_json(task_line)


def run_task(task: TrialTask, channel: WorkerChannel) -> TrialFinished:
    """Train one trial to its end, reporting each epoch."""
    device = pick_device(task.device)
    precision = pick_precision(task.config.train.precision, device)
    trial_ids = {"number": task.number, "attempt": task.attempt}
    channel.send(
        TrialStarted(
            number=task.number,
            attempt=task.attempt,
            device=describe_device(device),
            precision=precision,
        )
    )
    images, names = _open_images(
        task.data_root,
        task.split_csv,
        task.cache,
        task.config.data.height_width,
        task.config.data.fit,
        task.data.model_dump_json(),
        task.max_pixels,
    )
    result = fit_trial(
        TrainingInputs(
            task.config,
            images,
            names,
            TrialPaths(task.trial_dir),
            seed=task.seed,
            device=device,
            precision=precision,
            augments=task.augments,
            shares_gpu=task.shares_gpu,
        ),
        objective=task.objective,
        should_stop=lambda: channel.preemption.stop_requested,
        on_epoch=lambda line: channel.report_epoch(
            EpochReport(metrics=numeric_values(line), **trial_ids)
        ),
        attempt=task.attempt,
        micro_batch=task.micro_batch,
        on_micro_batch=lambda n: channel.send(MicroBatchReduced(micro_batch=n, **trial_ids)),
    )
    return TrialFinished(number=task.number, attempt=task.attempt, result=result)


@lru_cache(maxsize=2)
def _open_images(
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
    source = open_source(root)
    cache = open_cache(source, rows, data, size=size, fit=fit, folder=folder, max_pixels=max_pixels)
    return cache, {number: row.image for number, row in enumerate(rows)}


if __name__ == "__main__":
    main()
