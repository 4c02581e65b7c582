"""Observers of a study's trials: one interface, notified by the controller in a fixed order."""

from collections.abc import Callable

from harness.config.progress import ProgressReporter, TrialMirror
from harness.core.records import TrialRecord
from harness.core.text import count
from harness.execution.protocol import StepReport, WorkerNotice
from harness.search.run.running_trial import RunningTrial


class TrialObserver:
    """Hooks in the life of a trial; each does nothing unless a subclass overrides it.

    They run on the controller's thread between two events, so that a hook that waits delays every
    worker. `running.record` is always the record as it was last written.
    """

    def trial_started(self, running: RunningTrial, *, continued: bool) -> None:
        """A worker has received the trial, for the first time in this run of the study."""

    def epoch_finished(self, running: RunningTrial, metrics: dict[str, float]) -> None:
        """The trial has reported an epoch; `metrics` is its line in epochs.jsonl."""

    def trial_interrupted(self, running: RunningTrial) -> None:
        """The study is stopping, and the trial was saved for the next run."""

    def trial_ended(self, running: RunningTrial) -> None:
        """The trial is complete, pruned or failed; its record is written and Optuna has it."""


class ObserverList(TrialObserver):
    """Notify several observers, in the order in which they are given."""

    def __init__(self, *observers: TrialObserver) -> None:
        self._observers = observers

    def trial_started(self, running: RunningTrial, *, continued: bool) -> None:
        for observer in self._observers:
            observer.trial_started(running, continued=continued)

    def epoch_finished(self, running: RunningTrial, metrics: dict[str, float]) -> None:
        for observer in self._observers:
            observer.epoch_finished(running, metrics)

    def trial_interrupted(self, running: RunningTrial) -> None:
        for observer in self._observers:
            observer.trial_interrupted(running)

    def trial_ended(self, running: RunningTrial) -> None:
        for observer in self._observers:
            observer.trial_ended(running)


class RetryReset(TrialObserver):
    """Reset the counts of lost attempts and of waits for disk space when a trial makes progress.

    Args:
        reset_waits: called after each epoch that no earlier attempt at its trial had finished.
    """

    def __init__(self, reset_waits: Callable[[], None]) -> None:
        self._reset_waits = reset_waits

    def epoch_finished(self, running: RunningTrial, metrics: dict[str, float]) -> None:
        # Only epochs that are new: a trial that repeats the same epochs after each wait on a full
        # disk would otherwise never use up its waits.
        if running.attempts.epoch_finished(int(metrics["epoch"])):
            self._reset_waits()


class ProgressObserver(TrialObserver):
    """Show trials to the user.

    Args:
        progress: receives them.
        n_finished: number of finished trials of the study.
        best_trial: the best complete trial so far.

    Attributes:
        n_target: number of finished trials at which the study ends.
    """

    def __init__(
        self,
        progress: ProgressReporter,
        n_finished: Callable[[], int],
        best_trial: Callable[[], TrialRecord | None],
    ) -> None:
        self._progress, self._n_finished, self._best_trial = progress, n_finished, best_trial
        self.n_target = 0
        self._notices: set[str] = set()

    def show_counts(self) -> None:
        """Show the number of finished trials."""
        self._progress.trials(self._n_finished(), self.n_target)

    def trial_started(self, running: RunningTrial, *, continued: bool) -> None:
        self._progress.began(running.record, running.config, continued=continued)

    def show(self, running: RunningTrial, event: WorkerNotice | StepReport) -> None:
        """Show the progress within an epoch, or a sentence: once, as it is that of all trials."""
        if isinstance(event, StepReport):
            self._progress.step(running.record, event.epoch, event.step, event.n_steps, event.loss)
        elif event.text not in self._notices:
            self._notices.add(event.text)
            self._progress.stage(event.text)

    def micro_batch_reduced(self, running: RunningTrial) -> None:
        """Show that a GPU's memory ran out; the record has the new number of images per pass."""
        self._progress.stage(
            f"trial {running.record.number}  out of GPU memory: continues with "
            f"{running.record.micro_batch} of "
            f"{count(running.config.train.batch_size, 'image')} per pass"
        )

    def epoch_finished(self, running: RunningTrial, metrics: dict[str, float]) -> None:
        self._progress.epoch(running.record, metrics)

    def trial_ended(self, running: RunningTrial) -> None:
        self.show_counts()
        self._progress.ended(running.record, self._best_trial())


class MirrorObserver(TrialObserver):
    """Note for the mirror which trial's folder has changed."""

    def __init__(self, mirror: TrialMirror) -> None:
        self._mirror = mirror

    def trial_started(self, running: RunningTrial, *, continued: bool) -> None:
        self._mirror.note(running.record.number)

    def epoch_finished(self, running: RunningTrial, metrics: dict[str, float]) -> None:
        self._mirror.note(running.record.number)

    def trial_interrupted(self, running: RunningTrial) -> None:
        self._mirror.note(running.record.number)

    def trial_ended(self, running: RunningTrial) -> None:
        self._mirror.note(running.record.number)
