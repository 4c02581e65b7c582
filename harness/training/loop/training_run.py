"""Progress of a training across interruptions: best epoch, log on disk, checkpoint."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch

from harness.config.study import ObjectiveConfig
from harness.core import files
from harness.core.errors import ConfigError
from harness.training.hardware.batch_splitting import retry_on_oom
from harness.training.hardware.cost import EnergyMeter
from harness.training.loop.async_reporter import AsyncEpochReporter
from harness.training.loop.attempt_guard import AttemptGuard
from harness.training.loop.checkpoint import CheckpointWriter
from harness.training.loop.errors import TrainingInterruptedError
from harness.training.loop.resume import (
    EpochLine,
    ResumableState,
    checkpoint_identity,
    remove_partial_files,
    truncate_log,
)
from harness.training.loop.setup import TrainingSetup
from harness.training.metrics.image_scores import (
    ImageScores,
    scores_from_entries,
    scores_to_entries,
    summarise_scores,
)
from harness.training.metrics.validation import ValidationResult

STEP_REPORT_S = 2.0  # between two reports of the progress within an epoch
# Receives epoch, steps of it so far, all its steps, and the mean training loss of these.
StepCallback = Callable[[int, int, int, float], None]


@dataclass(frozen=True)
class BestEpoch:
    """Best epoch so far: its line in the log, its scores and its weights."""

    line: EpochLine
    scores: ImageScores
    weights: dict[str, torch.Tensor]

    @property
    def epoch(self) -> int:
        return int(self.line["epoch"])


class TrainingRun:
    """One trial between its first epoch and its last, across interruptions.

    Attributes:
        log: the lines of epochs.jsonl, one per finished epoch.
        best: the best epoch so far; None before the first.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        objective: ObjectiveConfig,
        resumable: ResumableState | None,
        guard: AttemptGuard,
        reporter: AsyncEpochReporter,
        on_step: StepCallback | None = None,
    ) -> None:
        self._on_step, self._step_reported_at = on_step, time.monotonic()
        self._setup, self._trainer = setup, setup.trainer
        self._config, self._paths = setup.inputs.config, setup.inputs.paths
        self._objective = objective
        self._guard, self._reporter = guard, reporter

        # A bound method instead would make a reference cycle, which keeps network and moments in
        # memory until Python collects it: well into the next trials of a warm worker.
        def check_may_replace() -> None:
            reporter.wait_written()  # a checkpoint with more epochs than the log is unusable
            guard.check_current()

        self._checkpoints = CheckpointWriter(self._paths, check_may_replace)
        self._saved_epoch, self._saved_at = 0, time.monotonic()
        self._saved_partial_epoch: dict[str, Any] | None = None
        self._partial_epoch_s = 0.0  # seconds of the unfinished epoch in earlier processes
        self._epoch_start: float | None = None  # of the epoch in this process; None between epochs
        self.log: list[EpochLine] = []
        self.best: BestEpoch | None = None
        self.ms_per_image = math.nan
        self._energy_meter = EnergyMeter(setup.inputs.device, shares_gpu=setup.inputs.shares_gpu)
        self._energy_before_wh: float | None = 0.0  # of attempts that this one continues
        if resumable is not None:
            self._restore(resumable)
        guard.check_current()
        truncate_log(self._paths, self.log)
        remove_partial_files(self._paths)

    @property
    def n_epochs_finished(self) -> int:
        return len(self.log)

    @property
    def is_finished(self) -> bool:
        """True after all epochs, or after `train.patience` epochs without a better one."""
        patience = self._config.train.patience
        epochs_without_improvement = self.n_epochs_finished - self.best.epoch if self.best else 0
        return self.n_epochs_finished >= self._config.train.epochs or (
            patience is not None and epochs_without_improvement >= patience
        )

    def run_next_epoch(self, should_stop: Callable[[], bool]) -> bool:
        """Train and validate one epoch, and hand it to the reporter.

        A checkpoint is started, after a step or at the end, if the last one is `train.checkpoint_s`
        old; with 0, after each epoch.

        Args:
            should_stop: called after each step; True stops there.

        Returns:
            False if the epoch was stopped before its end; `save_checkpoint` then saves its state.

        Raises:
            DivergedError: loss or metrics are not finite.
            OSError: log or checkpoint could not be written.
            StaleAttemptError: another attempt at this trial has begun.
        """
        self._epoch_start, epoch = time.monotonic(), self.n_epochs_finished + 1

        def after_step() -> bool:
            self._report_step(epoch)
            return should_stop() or self._save_within_epoch()

        try:
            train_metrics = self._trainer.train_epoch(epoch, after_step)
            validation = self._setup.validate_epoch(epoch, after_step)
        except TrainingInterruptedError:
            self._partial_epoch_s, self._epoch_start = self._epoch_seconds(), None
            return False
        if self._reporter.wait_decision() != "continue":  # about the previous epoch
            self._partial_epoch_s, self._epoch_start = self._epoch_seconds(), None
            return False
        self._trainer.partial_epoch = None
        metrics = summarise_scores(validation.scores, self._setup.inputs.images.data)
        self.ms_per_image = validation.ms_per_image
        # The time is stored, as MLflow identifies a point by it: an epoch that is sent again with
        # the same time is not doubled there.
        line: EpochLine = {"epoch": epoch, "time_ms": time.time_ns() // 1_000_000}
        line |= {"seconds": self._epoch_seconds(), **train_metrics, **metrics}
        self._partial_epoch_s, self._epoch_start = 0.0, None
        self._update_best(line, validation.scores)
        self._reporter.write(lambda: self._write_epoch(line, validation))
        if self._config.train.checkpoint_s == 0:
            self.save_checkpoint()
            # With checkpoint_s 0 no reported epoch may ever be lost, so the checkpoint comes first.
            self._checkpoints.wait()
        elif self._is_checkpoint_due() and not self.is_finished:
            self.save_checkpoint()  # a finished training saves its model instead
        self._reporter.report(line)
        return True

    def energy_wh(self) -> float | None:
        """Energy of the training so far, over all attempts; None if any part is unknown."""
        used_wh = self._energy_meter.used_wh()
        if used_wh is None or self._energy_before_wh is None:
            return None
        return self._energy_before_wh + used_wh

    def save_checkpoint(self) -> None:
        """Start to write the present state in the background, unless it is saved already."""
        partial_epoch = self._trainer.partial_epoch
        if (
            self._saved_epoch < self.n_epochs_finished
            or partial_epoch is not self._saved_partial_epoch
        ):
            self._checkpoints.save(self._checkpoint_state())
            self._saved_epoch, self._saved_partial_epoch = self.n_epochs_finished, partial_epoch
            self._saved_at = time.monotonic()

    def save_spare_checkpoint(self) -> None:
        """Write the state of a pruned trial, which may continue at the end of the study.

        On a full disk it only loses this chance.
        """
        with contextlib.suppress(OSError):
            self.save_checkpoint()
            self._checkpoints.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the last checkpoint; raise its exception unless there is another one."""
        try:
            if kind is None:
                self._checkpoints.wait()
        finally:
            self._checkpoints.close()

    def objective_value(self, line: EpochLine) -> float:
        """The objective metric of an epoch."""
        metric = self._objective.metric
        if metric not in line:
            raise ConfigError(
                f"objective.metric: {metric} has no value, as it counts in no validation image; "
                "choose another metric or change the split"
            )
        return line[metric]

    def _report_step(self, epoch: int) -> None:
        """Report the progress within the epoch if the last report is some seconds old."""
        if self._on_step is None or time.monotonic() - self._step_reported_at < STEP_REPORT_S:
            return
        progress = self._trainer.epoch_progress()
        if progress is not None and math.isfinite(progress[2]):  # the trainer stops for others
            self._step_reported_at = time.monotonic()
            self._on_step(epoch, *progress)

    def _save_within_epoch(self) -> bool:
        """Save within an epoch if a checkpoint is due; False, so that the training continues."""
        interval_s = self._config.train.checkpoint_s
        if interval_s > 0 and self._is_checkpoint_due() and not self._checkpoints.is_writing:
            self._trainer.mark_partial_epoch()
            self.save_checkpoint()
        return False

    def _is_checkpoint_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._config.train.checkpoint_s

    def _epoch_seconds(self) -> float:
        """Seconds of the unfinished epoch, in this process and earlier ones."""
        return self._partial_epoch_s + (
            0.0 if self._epoch_start is None else time.monotonic() - self._epoch_start
        )

    def _write_epoch(self, line: EpochLine, validation: ValidationResult) -> None:
        self._setup.write_overlays(int(line["epoch"]), validation)
        self._guard.check_current()
        files.append_jsonl(self._paths.epochs_jsonl, line)

    def _update_best(self, line: EpochLine, scores: ImageScores) -> None:
        self.log.append(line)
        if self.best is None or self._is_better(line, self.best.line):
            # Cloned, since the optimizer changes the weights in place.
            weights = self._trainer.eval_model.state_dict()
            copies = retry_on_oom(lambda: {name: v.detach().clone() for name, v in weights.items()})
            self.best = BestEpoch(line, scores, copies)

    def _is_better(self, line: EpochLine, best_line: EpochLine) -> bool:
        return self._objective.better(self.objective_value(line), self.objective_value(best_line))

    def _checkpoint_state(self) -> dict[str, Any]:
        energy_wh = self.energy_wh()
        return {
            "epoch": self.n_epochs_finished,
            "part_s": self._epoch_seconds(),
            "identity": checkpoint_identity(self._config, self._setup.inputs.seed),
            "trainer": self._trainer.state(),
            "best": None if self.best is None else _best_epoch_state(self.best),
            "ms_per_image": self.ms_per_image,
            **({} if energy_wh is None else {"energy_wh": energy_wh}),
        }

    def _restore(self, resumable: ResumableState) -> None:
        retry_on_oom(lambda: self._trainer.load(resumable.state["trainer"]))
        self._partial_epoch_s = resumable.state.get("part_s", 0.0)
        self._energy_before_wh = resumable.state.get("energy_wh")
        best = resumable.state["best"]
        if best is not None:  # the first epoch is done
            scores = scores_from_entries(best["entries"], best.get("others", {}))
            self.best = BestEpoch(best["line"], scores, best["weights"])
        self.ms_per_image = resumable.state["ms_per_image"]
        self.log = list(resumable.log)
        self._saved_epoch, self._saved_partial_epoch = (
            self.n_epochs_finished,
            self._trainer.partial_epoch,
        )


def _best_epoch_state(best: BestEpoch) -> dict[str, Any]:
    return {
        "line": best.line,
        "entries": scores_to_entries(best.scores),
        "others": {k: v.tolist() for k, v in best.scores.extra_columns.items()},
        "weights": best.weights,
    }
