"""A training with its memory: the best epoch so far, the log on disk, the checkpoint."""

import math
import time
from dataclasses import dataclass
from typing import Any, Self

import torch

from harness import files
from harness.config import ObjectiveConfig, TrialConfig
from harness.errors import ConfigError
from harness.paths import TrialPaths
from harness.training.checkpoint import Checkpoints
from harness.training.fence import Fence
from harness.training.metrics import ImageScores, entries_of, from_entries, summarise
from harness.training.resume import Line, Resumed, cut_log, identity, remove_torn
from harness.training.setup import Setup


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
    ) -> None:
        self._setup, self._trainer, self._paths = setup, setup.trainer, paths
        self._config, self._objective = config, objective
        self._fence = fence
        self._checkpoints = Checkpoints(paths, fence.check)
        self._saved_epoch, self._saved_at = 0, time.monotonic()
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

    def next_epoch(self) -> Line:
        """Train and validate one epoch, log it, and begin to save it if the last save is old.

        Raises:
            DivergedError: loss or metrics are not finite.
            OSError: log or checkpoint could not be written.
            StaleAttemptError: another attempt at this trial has begun.
        """
        begun, epoch = time.monotonic(), self.epochs_done + 1
        trained = self._trainer.epoch(epoch)
        validation = self._setup.validate_epoch(epoch)
        metrics = summarise(validation.scores, self._setup.images.data)
        self.ms_per_image = validation.ms_per_image
        line: Line = {"epoch": epoch, "time_ms": time.time_ns() // 1_000_000}
        line |= {"seconds": time.monotonic() - begun, **trained, **metrics}
        self._remember(line, validation.scores)
        self._fence.check()
        files.append_line(self._paths.epochs_jsonl, line)
        if time.monotonic() - self._saved_at >= self._config.train.checkpoint_s:
            self.save()
        if self._config.train.checkpoint_s == 0:
            self._checkpoints.wait()  # whoever asks for every epoch is told of none that may go
        return line

    def save(self) -> None:
        """Begin to write a checkpoint of the last epoch, in the background, if there is none."""
        if self._saved_epoch < self.epochs_done:
            self._checkpoints.save(self._state())
            self._saved_epoch, self._saved_at = self.epochs_done, time.monotonic()

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

    def _remember(self, line: Line, scores: ImageScores) -> None:
        self.log.append(line)
        if self.best is None or self._is_better(line, self.best.line):
            weights = self._trainer.judged.state_dict()
            copies = {name: value.detach().clone() for name, value in weights.items()}
            self.best = Best(line, scores, copies)

    def _is_better(self, line: Line, other: Line) -> bool:
        sign = 1 if self._objective.direction == "minimize" else -1
        return sign * self.value(line) < sign * self.value(other)

    def _state(self) -> dict[str, Any]:
        assert self.best is not None
        return {
            "epoch": self.epochs_done,
            "identity": identity(self._config, self._setup.seed),
            "trainer": self._trainer.state(),
            "best": {
                "line": self.best.line,
                "entries": entries_of(self.best.scores),
                "others": {k: v.tolist() for k, v in self.best.scores.others.items()},
                "weights": self.best.weights,
            },
            "ms_per_image": self.ms_per_image,
        }

    def _continue(self, resumed: Resumed) -> None:
        self._trainer.load(resumed.state["trainer"])
        best = resumed.state["best"]
        scores = from_entries(best["entries"], best.get("others", {}))
        self.best = Best(best["line"], scores, best["weights"])
        self.ms_per_image = resumed.state["ms_per_image"]
        self.log = list(resumed.log)
        self._saved_epoch = self.epochs_done
