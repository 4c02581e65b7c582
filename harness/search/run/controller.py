"""Main loop of a study: create trials, send them to workers, prune, record and retry.

Life of a trial: `TrialFactory` samples a configuration and writes trial.json → an executor trains
it → every epoch arrives in `_on_epoch`, which reports to Optuna and answers → `_finish` writes
trial.json and tells Optuna. Workers write epochs.jsonl and best/; the mirror copies to MLflow.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage

from harness.config.progress import ProgressReporter, TrialMirror
from harness.core.environment import EnvironmentInfo
from harness.core.records import TrialFailure
from harness.core.timestamps import utc_timestamp
from harness.execution.protocol import (
    Decision,
    EpochReport,
    Event,
    Executor,
    MicroBatchReduced,
    StepReport,
    TrialFailed,
    TrialFinished,
    TrialStarted,
    WorkerDied,
    WorkerNotice,
)
from harness.search.definition.definition import StudyDefinition
from harness.search.pruning.pruner import PruningDecider
from harness.search.run.disk_space import MIN_FREE_BYTES, DiskSpaceGuard
from harness.search.run.event_inbox import EventInbox
from harness.search.run.failures import FailureStreak
from harness.search.run.hang_detector import HangWatch
from harness.search.run.observers import (
    MirrorObserver,
    ObserverList,
    ProgressObserver,
    RetryReset,
    TrialObserver,
)
from harness.search.run.retention import ArtifactRetention
from harness.search.run.running_trial import RunningTrial
from harness.search.run.stop_conditions import (
    GracefulStop,
    StopConditions,
    StopReason,
    is_resumable_stop,
)
from harness.search.run.trial_source import TrialSource
from harness.search.run.trial_store import TrialStore
from harness.search.run.trials import TrialContext, TrialFactory
from harness.search.sampling.sampler import SpaceSampler


class Controller:
    """Runs the trials of one study. There is one controller per study, on one thread.

    Args:
        study: the Optuna study.
        storage: database of the Optuna study.
        definition: configuration and search space of the study.
        context: folders of the study and its data.
        executor: trains the trials.
        progress: shows them to the user.
        mirror: copies changed trials to another store.
        environment: versions and commit, written into each record.
        refuse: reason why a configuration that the space allows must not be sampled, or None.
        clock: monotonic seconds, for hangs and time limits.
        stop_conditions: reasons to end the study early; None: there are none.
        disk_guard: waits while a disk is full; None: it watches the study's folder alone.
        packing: adjusts the number of trials on each GPU; None: it is fixed.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        definition: StudyDefinition,
        context: TrialContext,
        executor: Executor,
        *,
        progress: ProgressReporter,
        mirror: TrialMirror,
        environment: EnvironmentInfo,
        refuse: Callable[[Mapping[str, Any]], str | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        stop_conditions: StopConditions | None = None,
        disk_guard: DiskSpaceGuard | None = None,
        packing: TrialObserver | None = None,
    ) -> None:
        self._study, self._definition = study, definition
        self._context, self._executor, self._progress = context, executor, progress
        config = definition.config
        study.sampler = self._sampler = SpaceSampler(
            definition.space, config.sampler, config.seed, refuse, config.priors
        )
        self._factory = TrialFactory(study, storage, definition, context, environment)
        self._retention = ArtifactRetention(context.paths, definition.config)
        self._running: dict[int, RunningTrial] = {}
        self._hang_watch = HangWatch(definition.config.limits.hang_floor_s, clock)
        self._streak = FailureStreak()
        self._stop_conditions = stop_conditions or StopConditions()
        self._graceful_stop = GracefulStop(self._stop_conditions, config.limits.stop_s, clock)
        self._inbox = EventInbox(executor, self._running, self._hang_watch)
        self._pruning = PruningDecider(study, definition)
        disk_guard = disk_guard or DiskSpaceGuard(
            [context.paths.root], MIN_FREE_BYTES, progress, self._stop_conditions
        )
        self._store = TrialStore(
            study, storage, context.paths, disk_guard, self._hang_watch.reset_silence
        )
        self._source = TrialSource(study, self._factory, self._store, self._pruning)
        self._progress_observer = ProgressObserver(
            progress, self.count_finished, lambda: self._retention.best
        )
        # The order matters: the best trial is known before it is shown, and the mirror comes last,
        # as it copies what the others have done to the trial's folder.
        self._observers = ObserverList(
            RetryReset(self._store.reset_waits),
            self._hang_watch,
            self._retention,
            self._stop_conditions,
            self._progress_observer,
            packing or TrialObserver(),
            MirrorObserver(mirror),
        )

    def run(self, trials: int) -> StopReason | None:
        """Run until `trials` trials are finished, including those of earlier runs.

        Returns the reason if it stopped before that; interrupted trials then keep the state
        "running", and the next run continues them. Raises StudyStoppedError when three trials in a
        row failed for the same cause.
        """
        grid = self._sampler.n_grid_trials(self._study)
        self._progress_observer.n_target = trials if grid is None else min(trials, grid)
        self._progress_observer.show_counts()
        self._factory.enqueue_rows()
        waiting = self._source.unfinished_trials()
        while True:
            self._check_stop(waiting)
            has_started = not self._graceful_stop.is_stopping and self._fill_slot(waiting)
            running_paths = map(self._context.paths.trial, self._running)
            if self._is_done(waiting) or self._graceful_stop.is_over(running_paths):
                if self._graceful_stop.stop is None:  # all requested trials are finished
                    self._retention.remove_failed_checkpoints()
                return self._graceful_stop.stop
            # One slot at a time: filling 64 takes seconds, in which the first trials report epochs.
            if (event := self._inbox.next_event(wait=not has_started)) is not None:
                self._on_event(event)
            if not self._graceful_stop.is_stopping:
                self._kill_hung()

    def _is_done(self, waiting: list[int]) -> bool:
        """True if no trial runs or may start; a cluster may have no slot for a while."""
        is_open = self._graceful_stop.stop is None and self._needs_more()
        return not (self._running or is_open or (waiting and not self._graceful_stop.is_stopping))

    def _check_stop(self, waiting: list[int]) -> None:
        """Look for a new reason to stop; if it interrupts trials, request the workers to save."""
        if not (self._running or waiting or self._needs_more()):
            return
        if (stop := self._graceful_stop.check()) is not None:
            self._progress.stage(stop.line)
            if stop.interrupts_trials:
                self._executor.request_stop()

    def _needs_more(self) -> bool:
        return self.count_finished() + len(self._running) < self._progress_observer.n_target

    def _fill_slot(self, waiting: list[int]) -> bool:
        """Give a free slot an unfinished trial of an earlier run, else a new one; False: none."""
        if len(self._running) >= self._executor.slots:
            return False
        if waiting:
            if (running := self._source.resume_trial(waiting.pop(0))) is not None:
                self._dispatch(running, continued=True)
        elif self._graceful_stop.stop is None and self._needs_more():
            self._dispatch(self._source.create_trial(self._running))
        else:
            return False
        return True

    def count_finished(self) -> int:
        """Number of trials that are complete, pruned or failed; imported ones do not count."""
        return self._store.n_finished

    def _dispatch(self, running: RunningTrial, *, continued: bool = False) -> None:
        self._running[running.record.number] = running
        self._start(running)
        self._observers.trial_started(running, continued=continued)

    def _on_event(self, event: Event) -> None:
        if not self._inbox.is_current(event):
            return
        running = self._running[event.number]
        self._hang_watch.record_activity(event.number)
        if self._graceful_stop.is_stopping and is_resumable_stop(
            event, has_failure=running.pending_failure is not None
        ):
            del self._running[event.number]
            self._observers.trial_interrupted(running)
            return
        match event:
            case TrialStarted():
                self._update_record(running, event.record_update())
            case MicroBatchReduced():
                self._update_record(running, {"micro_batch": event.micro_batch})
                self._progress_observer.micro_batch_reduced(running)
            case WorkerNotice() | StepReport():
                self._progress_observer.show(running, event)
            case EpochReport():
                self._on_epoch(running, event)
            case TrialFinished():
                self._on_end(running, event)
            case TrialFailed() if event.failure.cause == "disk_full":
                self._retry_when_full(running, event)
            case TrialFailed():
                self._retry_or_fail(running, running.attempts.attempt_failed(event.failure))
            case WorkerDied():
                self._retry_or_fail(running, running.attempts.worker_died(event))

    def _on_epoch(self, running: RunningTrial, event: EpochReport) -> None:
        """Report to Optuna, answer, then notify the observers: the worker waits for the answer."""
        objective = self._definition.config.objective
        value = event.metrics.get(objective.metric)
        if value is None or not objective.is_possible_value(value):
            message = f"epoch {event.epoch}: the objective metric was {value}"
            running.pending_failure = TrialFailure(cause="diverged", message=message)
            return self._executor.answer(event.number, "stop")
        self._store.cache_epoch(running.trial, event.epoch, value)
        prune = self._pruning.should_prune(running, event.epoch)
        if prune and running.record.pruned_after is None:
            # Written before Optuna has the epoch: if this process is killed in between, the next
            # run still prunes the trial here, instead of asking the pruner a second time.
            self._update_record(running, {"pruned_after": event.epoch})
        self._store.report_epoch(running.trial, event.epoch, value)
        last = event.epoch >= running.record.epochs
        decision: Decision = "stop" if self._graceful_stop.is_stopping and not last else "continue"
        self._executor.answer(event.number, "prune" if prune else decision)
        return self._observers.epoch_finished(running, event.metrics)

    def _on_end(self, running: RunningTrial, event: TrialFinished) -> None:
        if event.result.outcome == "stopped":
            if running.pending_failure is not None:
                return self._fail(running, running.pending_failure)
            failure = TrialFailure(cause="crashed", message="stopped without a request")
            return self._retry_or_fail(running, running.attempts.attempt_failed(failure))
        return self._finish(running, event.result.record_update())

    def _retry_or_fail(self, running: RunningTrial, failure: TrialFailure | None) -> None:
        """After a lost attempt: start the next one, unless `failure` ends the trial."""
        failure = running.pending_failure or failure  # a pending failure came first
        return self._restart(running) if failure is None else self._fail(running, failure)

    def _kill_hung(self) -> None:
        for number, seconds in self._inbox.hung_trials().items():
            running = self._running[number]
            stacks = self._executor.kill_trial(number)
            self._retry_or_fail(running, running.attempts.worker_hung(seconds, stacks))

    def _restart(self, running: RunningTrial) -> None:
        # Written before the new worker starts: `AttemptGuard` reads the attempt from trial.json, so
        # an old worker that is still alive can write nothing from now on.
        attempt = running.record.attempt + 1
        self._update_record(running, {"attempt": attempt, "judged": running.last_pruner_epoch})
        self._start(running)

    def _start(self, running: RunningTrial) -> None:
        self._hang_watch.start_attempt(running.record.number)
        self._executor.start(self._factory.make_task(running))

    def _retry_when_full(self, running: RunningTrial, event: TrialFailed) -> None:
        """Wait for disk space, then continue the trial; an unwritten epoch was not reported."""
        if running.pending_failure is not None:  # it had failed before
            return self._fail(running, running.pending_failure)
        message = event.failure.message.splitlines()[0][:200]
        self._store.wait_for_space(f"trial {event.number}: {message}", event.full_folder)
        return self._restart(running)

    def _fail(self, running: RunningTrial, failure: TrialFailure) -> None:
        self._finish(running, {"state": "failed", "failure": failure})

    def _finish(self, running: RunningTrial, update: dict[str, Any]) -> None:
        """Write the record, tell Optuna, notify the observers; in this order."""
        self._update_record(running, update | {"ended": utc_timestamp("milliseconds")})
        record = running.record
        self._store.finish_trial(record)
        del self._running[record.number]
        self._observers.trial_ended(running)
        # Last, as it may raise and so end the study.
        self._streak.add(record, self._context.paths.trial(record.number).trial_json)

    def _update_record(self, running: RunningTrial, update: dict[str, Any]) -> None:
        running.record = self._store.update_record(running.record, update)
