"""Worker that sleeps instead of training, to measure everything around the training.

The next epoch starts before the decision about the last one has arrived, as in a real worker.

HARNESS_BENCH_EPOCHS is the number of epochs of a trial, HARNESS_BENCH_SECONDS its total duration,
HARNESS_BENCH_CHECKPOINT_MB the size of the checkpoint that it writes after each epoch; 0: none.
The learning curves depend only on the seed of the task.
"""

import os
import random
import sys
import time
from functools import partial
from typing import Any

from harness.core import files
from harness.core.paths import TrialPaths
from harness.core.records import TrialResult
from harness.execution.protocol import EpochReport, TrialFinished, TrialStarted, TrialTask
from harness.training.loop.async_reporter import AsyncEpochReporter
from harness.training.worker.parent_death import bind_to_parent
from harness.training.worker.worker_channel import WorkerChannel, redirect_stdout_to_log

EPOCHS = int(os.environ.get("HARNESS_BENCH_EPOCHS", "1"))
SECONDS = float(os.environ.get("HARNESS_BENCH_SECONDS", "0.05"))
CHECKPOINT_BYTES = int(1e6 * float(os.environ.get("HARNESS_BENCH_CHECKPOINT_MB", "0")))


def main() -> None:
    bind_to_parent()
    channel = WorkerChannel(sys.stdin.buffer, redirect_stdout_to_log())
    while True:
        _train(channel, TrialTask.model_validate_json(channel.next_task_line()))


def _train(channel: WorkerChannel, task: TrialTask) -> None:
    same: dict[str, Any] = {"number": task.number, "attempt": task.attempt}
    channel.send(TrialStarted(device="none", precision="none", **same))
    end, losses = random.Random(task.seed).random(), []
    with AsyncEpochReporter(
        lambda line: channel.report_epoch(EpochReport(metrics=line, **same))
    ) as reporter:
        for epoch in range(1, EPOCHS + 1):
            time.sleep(SECONDS / EPOCHS)
            if reporter.wait_decision() != "continue":  # about the previous epoch
                break
            losses.append(end + (1 - end) * 0.8**epoch)
            line = _epoch_line(epoch, losses[-1])
            reporter.write(partial(_write_epoch, TrialPaths(task.trial_dir), line))
            reporter.report(line)
        outcome = "pruned" if reporter.wait_decision() == "prune" else "complete"
    best = min(losses)
    channel.send(
        TrialFinished(
            result=TrialResult(
                outcome=outcome,  # type: ignore[arg-type]
                value=best,
                best_epoch=losses.index(best) + 1,
                best={"best/dice_loss": best},
                costs={"cost/seconds": SECONDS},
            ),
            **same,
        )
    )


def _epoch_line(epoch: int, loss: float) -> dict[str, float]:
    line = {"epoch": epoch, "time_ms": time.time_ns() // 1_000_000, "seconds": SECONDS / EPOCHS}
    return line | {"train/loss": loss, "val/dice_loss": loss, "val/dice": 1 - loss}


def _write_epoch(paths: TrialPaths, line: dict[str, float]) -> None:
    files.append_jsonl(paths.epochs_jsonl, line)
    if CHECKPOINT_BYTES:
        files.write_bytes(paths.checkpoint, bytes(CHECKPOINT_BYTES))


if __name__ == "__main__":
    main()
