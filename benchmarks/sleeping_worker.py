"""A worker that sleeps instead of training, for measuring what surrounds it.

HARNESS_BENCH_EPOCHS and HARNESS_BENCH_SECONDS say how many epochs a trial has and how long it takes
in all. Its learning curves depend on the seed of the task alone.
"""

import os
import random
import sys
import time
from typing import Any

from harness import files
from harness.execution.channel import Channel, private_stdout
from harness.execution.lifeline import prepare_process
from harness.execution.protocol import Ended, EpochDone, Started, TrialTask
from harness.paths import TrialPaths

EPOCHS = int(os.environ.get("HARNESS_BENCH_EPOCHS", "1"))
SECONDS = float(os.environ.get("HARNESS_BENCH_SECONDS", "0.05"))


def main() -> None:
    prepare_process()
    channel = Channel(sys.stdin.buffer, private_stdout())
    while True:
        _train(channel, TrialTask.model_validate_json(channel.next_order()))


def _train(channel: Channel, task: TrialTask) -> None:
    same: dict[str, Any] = {"number": task.number, "attempt": task.attempt}
    channel.send(Started(device="none", precision="none", **same))
    end, outcome, losses = random.Random(task.seed).random(), "complete", []
    for epoch in range(1, EPOCHS + 1):
        time.sleep(SECONDS / EPOCHS)
        losses.append(end + (1 - end) * 0.8**epoch)
        line = {"epoch": epoch, "time_ms": time.time_ns() // 1_000_000, "seconds": SECONDS / EPOCHS}
        line |= {"train/loss": losses[-1], "val/dice_loss": losses[-1], "val/dice": 1 - losses[-1]}
        files.append_line(TrialPaths(task.trial_dir).epochs_jsonl, line)
        if channel.ask(EpochDone(metrics=line, **same)) == "prune":
            outcome = "pruned"
            break
    best = min(losses)
    channel.send(
        Ended(
            outcome=outcome,  # type: ignore[arg-type]
            value=best,
            best_epoch=losses.index(best) + 1,
            best={"best/dice_loss": best},
            costs={"cost/seconds": SECONDS},
            **same,
        )
    )


if __name__ == "__main__":
    main()
