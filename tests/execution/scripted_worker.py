"""A worker that speaks the protocol and trains nothing; the seed of a task says what it does.

0: prints to standard output as a careless library would, reports two epochs, obeys the answers.
1: ends with code 7 after its first epoch.   2: fails.   3: sleeps for ever.
"""

import os
import sys
import threading
from typing import Any

from harness.execution.protocol import Ended, EpochDone, Failed
from harness.execution.worker import Channel, _private_stdout, read_task
from harness.records import Failure


def main() -> None:
    channel = Channel(sys.stdin.buffer, _private_stdout())
    while True:
        task = read_task(channel.next_order())
        same: dict[str, Any] = {"number": task.number, "attempt": task.attempt}
        print("a library's chatter")  # noqa: T201
        os.write(1, b"chatter below Python\n")
        if task.seed == 3:
            threading.Event().wait()
        if task.seed == 2:
            channel.send(Failed(failure=Failure(cause="crashed", message="no"), **same))
            continue
        outcome = "complete"
        for epoch in (1, 2):
            answer = channel.ask(EpochDone(metrics={"epoch": epoch, "val/dice_loss": 0.5}, **same))
            if task.seed == 1:
                sys.stderr.write("last words")
                sys.stderr.flush()
                os._exit(7)
            if answer == "prune":
                outcome = "pruned"
                break
        channel.send(
            Ended(
                outcome=outcome,
                value=0.5,
                best_epoch=1,
                best={},
                costs={"pid": os.getpid()},
                **same,
            )
        )


if __name__ == "__main__":
    main()
