"""A worker whose trials go wrong on purpose.

FAULTS is JSON: trial number -> [what, at, attempts]: `what` befalls the step `at` of the first so
many attempts. `oom` befalls every step with more than `at` images at once.
TRAINED is a file that gets a line `number epoch` for each epoch that has been trained.
"""

import ctypes
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness.execution.protocol import TrialFinished, TrialTask
from harness.training.loop.gradients import BatchGradients
from harness.training.loop.trainer import Trainer
from harness.training.worker import worker
from harness.training.worker.parent_death import bind_to_parent
from harness.training.worker.worker_channel import WorkerChannel


def main() -> None:
    bind_to_parent()
    torch.set_num_threads(1)
    faults = json.loads(os.environ.get("FAULTS", "{}"))
    trained = os.environ.get("TRAINED")
    train = worker.run_task
    step, epoch, logits = Trainer._step, Trainer.train_epoch, BatchGradients._forward_logits
    now: list[Any] = [None, 0, 0, 0]

    def watched_train(task: TrialTask, channel: WorkerChannel) -> TrialFinished:
        what, at, attempts = faults.get(str(task.number), [None, 0, 0])
        now[:] = [what if task.attempt <= attempts else None, at, task.number, 0]
        return train(task, channel)

    def watched_step(self: Trainer, number: int, *batch: Any) -> Any:
        if number == now[1] and now[0] in FAULTS:
            FAULTS[now[0]](self)
        return step(self, number, *batch)

    def watched_logits(self: BatchGradients, inputs: torch.Tensor) -> torch.Tensor:
        if now[0] == "oom" and len(inputs) > now[1]:
            raise torch.OutOfMemoryError("injected")
        return logits(self, inputs)

    def watched_epoch(self: Trainer, n: int, halt: Callable[[], bool]) -> dict[str, float]:
        result = epoch(self, n, halt)
        if trained is not None:
            with Path(trained).open("a", encoding="ascii") as file:
                file.write(f"{now[2]} {n}\n")
        return result

    worker.run_task = watched_train
    Trainer._step = watched_step  # type: ignore[method-assign]
    Trainer.train_epoch = watched_epoch  # type: ignore[method-assign]
    BatchGradients._forward_logits = watched_logits  # type: ignore[method-assign]
    worker.main()


def spoil(trainer: Trainer) -> None:
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(float("nan"))


def no_memory(_: Trainer) -> None:
    raise MemoryError("injected")


FAULTS: dict[str, Callable[[Trainer], object]] = {
    "nan": spoil,
    "segfault": lambda _: ctypes.string_at(0),
    "exit": lambda _: os._exit(3),
    "sleep": lambda _: threading.Event().wait(),
    "memory": no_memory,
}

if __name__ == "__main__":
    main()
