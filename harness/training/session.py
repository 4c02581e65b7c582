"""A training with its memory: the best epoch so far, the log on disk, the checkpoint."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch

from harness import files
from harness.config import ObjectiveConfig, TrialConfig
from harness.errors import ConfigError
from harness.paths import TrialPaths
from harness.training.checkpoint import Checkpoints
from harness.training.clerk import Clerk
from harness.training.errors import HaltedError
from harness.training.fence import Fence
from harness.training.memory import retried
from harness.training.metrics import ImageScores, entries_of, from_entries, summarise
from harness.training.resume import Line, Resumed, cut_log, identity, remove_torn
from harness.training.setup import Setup
from harness.training.validate import Validation


@dataclass(frozen=True)
class Best:
    """The best epoch so far: its line in the log, its scores, and the weights it judged."""

    line: Line
    scores: ImageScores
    weights: dict[str, torch.Tensor]

    @property
    def epoch(self) -> int:
        return int(self.line["epoch"])


class Session:
    """One trial between its first epoch and its last, across interruptions.

    Attributes:
        log: the lines of epochs.jsonl, one per finished epoch.
        best: the best epoch so far; None before the first.
    """

    def __init__(
        self,
        setup: Setup,
        config: TrialConfig,
        objective: ObjectiveConfig,
        paths: TrialPaths,
        resumed: Resumed | None,
        fence: Fence,
        clerk: Clerk,
    ) -> None:
        self._setup, self._trainer, self._paths = setup, setup.trainer, paths
        self._config, self._objective = config, objective
        self._fence, self._clerk = fence, clerk

        # A method of ours here would make a cycle, which keeps network and moments in memory until
        # Python happens to collect it: well into the next trials of a warm worker.
        def may_replace() -> None:
            clerk.written()  # a checkpoint that reaches further than the log cannot be used
            fence.check()

        self._checkpoints = Checkpoints(paths, may_replace)
        self._saved_epoch, self._saved_at = 0, time.monotonic()
        self._saved_part: dict[str, Any] | None = None
        self._part_s = 0.0  # seconds in the epoch that is not finished, before this process
        self._begun: float | None = None  # when this process went on with it; None between epochs
        self.log: list[Line] = []
        self.best: Best | None = None
        self.ms_per_image = math.nan
        if resumed is not None:
            self._continue(resumed)
        fence.check()
        cut_log(paths, self.log)
        remove_torn(paths)

    @property
    def epochs_done(self) -> int:
        return len(self.log)

    @property
    def is_over(self) -> bool:
        """All epochs are done, or there was no better one for `train.patience` epochs."""
        patience = self._config.train.patience
        waited = self.epochs_done - self.best.epoch if self.best else 0
        return self.epochs_done >= self._config.train.epochs or (
            patience is not None and waited >= patience
        )

    def next_epoch(self, halt: Callable[[], bool]) -> bool:
        """Train and validate one epoch and have it logged.

        A checkpoint is begun, after a step or at the end, where the last is `train.checkpoint_s`
        old; with 0, after each epoch.

        Args:
            halt: asked after each step whether to stop.

        Returns:
            False if it was stopped on the way, which `save` then keeps.

        Raises:
            DivergedError: loss or metrics are not finite.
            OSError: log or checkpoint could not be written.
            StaleAttemptError: another attempt at this trial has begun.
        """
        self._begun, epoch = time.monotonic(), self.epochs_done + 1

        def pause() -> bool:
            return halt() or self._save_within()

        try:
            trained = self._trainer.epoch(epoch, pause)
            validation = self._setup.validate_epoch(epoch, pause)
        except HaltedError:
            self._part_s, self._begun = self._seconds(), None
            return False
        if self._clerk.answer() != "continue":  # about the epoch before
            self._part_s, self._begun = self._seconds(), None
            return False
        self._trainer.part = None
        metrics = summarise(validation.scores, self._setup.images.data)
        self.ms_per_image = validation.ms_per_image
        line: Line = {"epoch": epoch, "time_ms": time.time_ns() // 1_000_000}
        line |= {"seconds": self._seconds(), **trained, **metrics}
        self._part_s, self._begun = 0.0, None
        self._remember(line, validation.scores)
        self._clerk.write(lambda: self._write(line, validation))
        if self._config.train.checkpoint_s == 0:
            self.save()
            self._checkpoints.wait()  # whoever asks for every epoch is told of none that may go
        elif self._is_due() and not self.is_over:
            self.save()  # of a training that is over the model is kept, in a moment
        self._clerk.ask(line)
        return True

    def save(self) -> None:
        """Begin to write a checkpoint as things stand, in the background, if there is none."""
        part = self._trainer.part
        if self._saved_epoch < self.epochs_done or part is not self._saved_part:
            self._checkpoints.save(self._state())
            self._saved_epoch, self._saved_part = self.epochs_done, part
            self._saved_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the checkpoint being written; its failure counts unless there is another."""
        try:
            if kind is None:
                self._checkpoints.wait()
        finally:
            self._checkpoints.close()

    def value(self, line: Line) -> float:
        """The objective metric of an epoch."""
        metric = self._objective.metric
        if metric not in line:
            raise ConfigError(f"objective.metric: {metric} counts in no validation image")
        return line[metric]

    def _save_within(self) -> bool:
        """Save the epoch that is being trained, if it is time; False, as nothing has to stop."""
        every = self._config.train.checkpoint_s
        if every > 0 and self._is_due() and not self._checkpoints.is_writing:
            self._trainer.mark()
            self.save()
        return False

    def _is_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._config.train.checkpoint_s

    def _seconds(self) -> float:
        """What the epoch that is not finished has taken, in this process and before."""
        return self._part_s + (0.0 if self._begun is None else time.monotonic() - self._begun)

    def _write(self, line: Line, validation: Validation) -> None:
        self._setup.draw(int(line["epoch"]), validation)
        self._fence.check()
        files.append_line(self._paths.epochs_jsonl, line)

    def _remember(self, line: Line, scores: ImageScores) -> None:
        self.log.append(line)
        if self.best is None or self._is_better(line, self.best.line):
            weights = self._trainer.judged.state_dict()
            copies = retried(lambda: {name: v.detach().clone() for name, v in weights.items()})
            self.best = Best(line, scores, copies)

    def _is_better(self, line: Line, other: Line) -> bool:
        sign = 1 if self._objective.direction == "minimize" else -1
        return sign * self.value(line) < sign * self.value(other)

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self.epochs_done,
            "part_s": self._seconds(),
            "identity": identity(self._config, self._setup.seed),
            "trainer": self._trainer.state(),
            "best": None if self.best is None else _stored(self.best),
            "ms_per_image": self.ms_per_image,
        }

    def _continue(self, resumed: Resumed) -> None:
        retried(lambda: self._trainer.load(resumed.state["trainer"]))
        self._part_s = resumed.state.get("part_s", 0.0)
        best = resumed.state["best"]
        if best is not None:  # the first epoch is done
            scores = from_entries(best["entries"], best.get("others", {}))
            self.best = Best(best["line"], scores, best["weights"])
        self.ms_per_image = resumed.state["ms_per_image"]
        self.log = list(resumed.log)
        self._saved_epoch, self._saved_part = self.epochs_done, self._trainer.part


def _stored(best: Best) -> dict[str, Any]:
    return {
        "line": best.line,
        "entries": entries_of(best.scores),
        "others": {k: v.tolist() for k, v in best.scores.others.items()},
        "weights": best.weights,
    }
