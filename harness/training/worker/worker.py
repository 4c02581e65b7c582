"""Warm process that trains one trial after another: `python -m harness.training.worker.worker`.

It reads orders from standard input and writes events to its original standard output; everything
that prints goes to the worker's log instead. It ends when standard input closes, so it cannot
outlive its controller. It never opens a database.
"""

import gc
import json
import os
import signal
import sys
from functools import lru_cache
from pathlib import Path

# All weights were downloaded before trial 0. Without this setting a file that is missing all the
# same takes 23 s to fail if there is no network, instead of 0.1 s.
os.environ["HF_HUB_OFFLINE"] = "1"

from harness.data.datasets.sources import open_source
from harness.training.worker.parent_death import bind_to_parent

if __name__ == "__main__":
    bind_to_parent()  # the imports below take seconds

import cv2

from harness.config.data import StudyDataConfig
from harness.config.study import needs_native_images
from harness.config.user_code import read_parts_file, register_packages, register_parts_file
from harness.core.errors import ConfigError
from harness.core.paths import TrialPaths
from harness.data.files.resize import Fit
from harness.data.loading.image_cache import ImageCache, open_cache
from harness.data.splits.splits import read_split
from harness.data.windows.native_store import open_store
from harness.data.windows.window import WindowSource
from harness.execution.protocol import (
    EpochReport,
    MicroBatchReduced,
    StepReport,
    TrialFailed,
    TrialFinished,
    TrialStarted,
    TrialTask,
    WorkerNotice,
    numeric_values,
)
from harness.training.hardware.batch_splitting import release_memory
from harness.training.hardware.device import describe_device, pick_device, pick_precision
from harness.training.loop.fit import fit_trial
from harness.training.loop.setup import TrainingInputs
from harness.training.on_device.device_images import DeviceImageStore
from harness.training.on_device.placement import DevicePlacement
from harness.training.worker.failure_causes import classify_failure, find_full_folder
from harness.training.worker.worker_channel import WorkerChannel, redirect_stdout_to_log

_DEVICE_IMAGES = DeviceImageStore()  # stay on the device from trial to trial


def main() -> None:
    """Serve until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controller's to handle
    cv2.setNumThreads(0)  # OpenCV's threads can hang, and compete with torch's for the same cores
    channel = WorkerChannel(sys.stdin.buffer, redirect_stdout_to_log())
    channel.preemption.install_handlers()
    # The imports leave half a million objects that every garbage collection would visit: 0.24 s, at
    # the start and the end of each trial. The objects of a trial alone take milliseconds.
    gc.freeze()
    while True:
        serve_task(channel.next_task_line(), channel)


def serve_task(task_line: bytes, channel: WorkerChannel) -> None:
    """Train one trial; any exception is sent as `TrialFailed`."""
    preemption = channel.preemption
    preemption.is_training = True
    try:
        finished = run_task(read_task(task_line), channel)
        if finished.result.outcome == "stopped":
            preemption.exit_if_preempted()
        channel.send(finished)
    except Exception as error:
        # From the raw line: read_task itself may have failed, so that there is no TrialTask.
        failure, task = classify_failure(error), json.loads(task_line)
        trial_ids = {"number": task["number"], "attempt": task["attempt"]}
        channel.send(TrialFailed(failure=failure, full_folder=find_full_folder(error), **trial_ids))
    finally:
        preemption.is_training = False
        preemption.exit_if_preempted()
        release_memory()


def read_task(task_line: bytes) -> TrialTask:
    """Parse a task, after registering the user-defined parts that its configuration may name.

    Raises:
        ConfigError: the file of parts is broken, or not the one that the study started with.
    """
    task_fields = json.loads(task_line)
    register_packages()  # the controller has reported the broken ones
    parts_file = (
        None if task_fields["parts"] is None else read_parts_file(Path(task_fields["parts"]))
    )
    if parts_file is not None and task_fields["parts_sha256"] not in (None, parts_file.sha256):
        raise ConfigError(f"{parts_file.path}: has changed since the study began; restore it")
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
        task.config.data.whole_fit,
        task.data.model_dump_json(),
        task.max_pixels,
    )
    windows = None
    if needs_native_images(task.config, task.data):
        windows = _open_windows(
            task.data_root, task.split_csv, task.cache, task.data.model_dump_json(), task.max_pixels
        )
    on_device = None
    if task.data_on_device:
        on_device = DevicePlacement(
            _DEVICE_IMAGES,
            device,
            lambda text: channel.send(WorkerNotice(text=text, **trial_ids)),
        )

    def report_step(epoch: int, step: int, n_steps: int, loss: float) -> None:
        channel.send(StepReport(epoch=epoch, step=step, n_steps=n_steps, loss=loss, **trial_ids))

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
            windows=windows,
            on_device=on_device,
        ),
        objective=task.objective,
        should_stop=lambda: channel.preemption.stop_requested,
        on_step=report_step if task.report_steps else None,
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
    """Open the cached images of a study, with their names by row; open from trial to trial."""
    rows = read_split(split_csv)
    data = StudyDataConfig.model_validate_json(data_json)  # text is hashable, for lru_cache
    source = open_source(root)
    cache = open_cache(source, rows, data, size=size, fit=fit, folder=folder, max_pixels=max_pixels)
    return cache, {number: row.image for number, row in enumerate(rows)}


@lru_cache(maxsize=1)
def _open_windows(
    root: Path, split_csv: Path, folder: Path, data_json: str, max_pixels: float
) -> WindowSource:
    """Open the images of `_open_images` at their own sizes; open from trial to trial."""
    data = StudyDataConfig.model_validate_json(data_json)
    rows = read_split(split_csv)
    return open_store(open_source(root), rows, data, folder=folder, max_pixels=max_pixels)


if __name__ == "__main__":
    main()
