"""A worker that speaks the protocol and trains nothing; the seed of a task says what it does.

0: prints to standard output as a careless library would, reports two epochs, obeys the answers.
1: ends with code 7 after its first epoch.   2: fails.   3: sleeps for ever.
4: ends in the middle of a line.   5: a segmentation fault.   6: reports an epoch, then holds the
interpreter in C for ever, so that no other thread of it runs.
"""

import ctypes
import os
import sys
import threading
from typing import Any

from harness.core.records import TrialFailure, TrialResult
from harness.execution.protocol import EpochReport, TrialFailed, TrialFinished, TrialTask
from harness.training.worker.parent_death import bind_to_parent
from harness.training.worker.worker_channel import WorkerChannel, redirect_stdout_to_log


def main() -> None:
    bind_to_parent()
    channel = WorkerChannel(sys.stdin.buffer, redirect_stdout_to_log())
    while True:
        task = TrialTask.model_validate_json(channel.next_task_line())
        same: dict[str, Any] = {"number": task.number, "attempt": task.attempt}
        print("a library's chatter")  # noqa: T201
        os.write(1, b"chatter below Python\n")
        if task.seed == 3:
            threading.Event().wait()
        if task.seed == 4:
            os.write(channel._events.fileno(), b'{"kind": "ep')
            os._exit(1)
        if task.seed == 5:
            ctypes.string_at(0)
        if task.seed == 6:
            channel.send(EpochReport(metrics={"epoch": 1}, **same))
            ctypes.PyDLL(None).sleep(10_000)  # PyDLL: without letting go of the interpreter
        if task.seed == 2:
            channel.send(TrialFailed(failure=TrialFailure(cause="crashed", message="no"), **same))
            continue
        outcome = "complete"
        for epoch in (1, 2):
            answer = channel.report_epoch(
                EpochReport(metrics={"epoch": epoch, "val/dice_loss": 0.5}, **same)
            )
            if task.seed == 1:
                sys.stderr.write("last words")
                sys.stderr.flush()
                os._exit(7)
            if answer == "prune":
                outcome = "pruned"
                break
        channel.send(
            TrialFinished(
                result=TrialResult(
                    outcome=outcome,
                    value=0.5,
                    best_epoch=1,
                    best={},
                    costs={"pid": os.getpid(), "shares_gpu": task.shares_gpu},
                ),
                **same,
            )
        )


if __name__ == "__main__":
    main()
