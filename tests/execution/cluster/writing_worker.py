"""A worker without torch that writes the files of a training, and continues from them.

Its "weights" are a chain of hashes, so that a training that was continued from anything but its
own state gives other values. The seed of a task says what else it does:

0: nothing.   1: waits for ever after its second epoch.   2: fails with a full disk.
3: waits for ever before its first epoch.   4: writes hostile names beside its files.
5: needs a quarter of a second for each epoch, and reports the GPUs that it sees as its device.
"""

import hashlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from harness.core import files
from harness.core.checkpoint_header import read_checkpoint_header
from harness.core.paths import TrialPaths
from harness.core.records import TrialFailure, TrialResult, read_epochs
from harness.execution.protocol import (
    EpochReport,
    TrialFailed,
    TrialFinished,
    TrialStarted,
    TrialTask,
)
from harness.training.worker.parent_death import bind_to_parent
from harness.training.worker.worker_channel import WorkerChannel, redirect_stdout_to_log

WEIGHTS_BYTES = 200_000


def save(trial: TrialPaths, epoch: int, weights: bytes) -> None:
    with files.atomic_replace(trial.checkpoint) as temporary:
        header = {"epoch": epoch, "sha256": hashlib.sha256(weights).hexdigest()}
        temporary.write_bytes(json.dumps(header).encode() + b"\n" + weights)
        if trial.checkpoint.exists():
            trial.checkpoint.replace(trial.checkpoint_previous)


def load(trial: TrialPaths) -> tuple[int, bytes]:
    for path in (trial.checkpoint, trial.checkpoint_previous):
        if path.exists():
            with path.open("rb") as handle:
                header, weights = read_checkpoint_header(handle), handle.read()
            if header is not None and hashlib.sha256(weights).hexdigest() == header["sha256"]:
                return header["epoch"], weights
    return 0, b"\0" * WEIGHTS_BYTES


def step(weights: bytes) -> bytes:
    digest = hashlib.sha256(weights).digest()
    return digest * (WEIGHTS_BYTES // len(digest))


def value_of(weights: bytes) -> float:
    return int.from_bytes(weights[:4]) / 2**32


def train(task: TrialTask, channel: WorkerChannel) -> TrialFinished:
    trial = TrialPaths(task.trial_dir)
    same: dict[str, Any] = {"number": task.number, "attempt": task.attempt}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    device = f"{task.device} {visible}" if task.seed == 5 else "cpu"
    channel.send(TrialStarted(device=device, precision="fp32", **same))
    if task.seed == 3:
        threading.Event().wait()
    start, weights = load(trial)
    log = read_epochs(trial)[:start]
    files.write_text(trial.epochs_jsonl, "".join(f"{json.dumps(line)}\n" for line in log))
    outcome = "complete"
    for epoch in range(start + 1, task.config.train.epochs + 1):
        weights = step(weights)
        time.sleep(0.25 if task.seed == 5 else 0)
        value = value_of(weights)
        line = {"epoch": epoch, "time_ms": 0, "seconds": 0.0, "val/dice_loss": value}
        files.write_bytes(trial.overlay(epoch, 0), weights[:32])
        files.append_jsonl(trial.epochs_jsonl, line)
        if task.seed == 4:
            hostile(trial.root)
        save(trial, epoch, weights)
        answer = channel.report_epoch(EpochReport(metrics=line, **same))
        if task.seed == 1 and epoch == 2:
            threading.Event().wait()
        if answer != "continue" or channel.preemption.stop_requested:
            outcome = "pruned" if answer == "prune" else "stopped"
            break
    if outcome == "complete":
        files.write_bytes(trial.model / "model.safetensors", weights)
    result = TrialResult(outcome=outcome, value=0.5, best_epoch=1, best={}, costs={})
    return TrialFinished(result=result, **same)


def hostile(folder: Path) -> None:
    (folder / "trial.json").write_text("{}", encoding="utf-8")
    (folder / "overlays" / ".hidden").write_text("x", encoding="utf-8")
    (folder / "overlays" / "half.tmp").write_text("x", encoding="utf-8")
    (folder / "other").write_text("x", encoding="utf-8")
    link = folder / "overlays" / "passwd"
    if not link.is_symlink():
        link.symlink_to("/etc/passwd")


def main() -> None:
    bind_to_parent()
    channel = WorkerChannel(sys.stdin.buffer, redirect_stdout_to_log())
    channel.preemption.install_handlers()
    while True:
        task = TrialTask.model_validate_json(channel.next_task_line())
        same: dict[str, Any] = {"number": task.number, "attempt": task.attempt}
        if task.seed == 2:
            failure = TrialFailure(cause="disk_full", message="OSError: [Errno 28]")
            folder = Path(os.sep) / "scratch"
            channel.send(TrialFailed(failure=failure, full_folder=folder, **same))
            continue
        channel.preemption.is_training = True
        finished = train(task, channel)
        if finished.result.outcome == "stopped":
            channel.preemption.exit_if_preempted()
        channel.send(finished)
        channel.preemption.is_training = False


if __name__ == "__main__":
    main()
