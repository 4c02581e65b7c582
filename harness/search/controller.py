"""One controller per study: it draws, hands out, records, prunes and tells.

Life of a trial: `TrialDesk` draws a configuration and writes trial.json → an executor trains it →
every epoch arrives in `_on_epoch`, which reports to Optuna and answers → `_finish` writes
trial.json and tells Optuna. Workers write epochs.jsonl and best/; the mirror copies to MLflow.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from harness.execution.protocol import (
    Ended,
    EpochDone,
    Event,
    Executor,
    Failed,
    Squeezed,
    Started,
    Vanished,
)
from harness.records import Failure, TrialRecord, write_record
from harness.search.definition import Definition
from harness.search.failures import Streak
from harness.search.progress import Progress
from harness.search.pruners import build_pruner
from harness.search.retention import Keeper
from harness.search.sampler import SpaceSampler
from harness.search.stamp import Stamp
from harness.search.study import own_trials
from harness.search.trials import Place, Running, TrialDesk, now
from harness.search.watch import HangWatch
from harness.space.schema import Choice

ENQUEUED = "harness.enqueued"


class Notes(Protocol):
    """Who copies what has changed in a trial's folder elsewhere; must return at once."""

    def note(self, number: int) -> None: ...


class Controller:
    """Runs the trials of one study.

    Args:
        study: its Optuna study.
        storage: where that lives.
        definition: what the study is.
        place: where its folder and data are.
        executor: who trains.
        progress: who is told.
        notes: who mirrors.
        stamp: versions and commit, written into each record.
        refuse: why a combination must not be drawn although the space allows it, or None.
        clock: monotonic seconds, by which silence is measured.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        definition: Definition,
        place: Place,
        executor: Executor,
        *,
        progress: Progress,
        notes: Notes,
        stamp: Stamp,
        refuse: Callable[[Mapping[str, Any]], str | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._study, self._storage, self._definition = study, storage, definition
        self._place, self._executor = place, executor
        self._progress, self._notes = progress, notes
        self._sampler = SpaceSampler(
            definition.space, definition.config.sampler, definition.config.seed, refuse
        )
        study.sampler = self._sampler
        self._desk = TrialDesk(study, storage, definition, place, stamp)
        self._keeper = Keeper(place.paths, definition.config)
        self._running: dict[int, Running] = {}
        self._watch = HangWatch(definition.config.limits.hang_floor_s, clock)
        self._streak = Streak()
        self._wanted = 0

    def run(self, trials: int) -> None:
        """Run until `trials` trials are finished in all, counting those of earlier runs.

        Raises:
            StudyStoppedError: the same cause failed three trials in a row.
        """
        grid = self._sampler.grid_left(self._study)
        self._wanted = trials if grid is None else min(trials, grid)
        self._progress.trials(self.finished(), self._wanted)
        self._enqueue()
        left = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        waiting = [trial.number for trial in left]
        while True:
            while len(self._running) < self._executor.slots:
                if waiting:
                    self._adopt(waiting.pop(0))
                elif self.finished() + len(self._running) < self._wanted:
                    self._begin()
                else:
                    break
            if not self._running:
                return
            event = self._executor.next_event(self._watch.left_s())
            if event is None:
                self._end_silent()
            else:
                self._on_event(event)

    def finished(self) -> int:
        """Trials that are complete, pruned or failed; imported ones do not count."""
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        return len(own_trials(self._study, states))

    def _enqueue(self) -> None:
        """Hand the space's own configurations to Optuna, once in the life of the study.

        A row that is there twice is trained twice, on two seeds.
        """
        if ENQUEUED in self._study.user_attrs:
            return
        space = self._definition.space
        trials = self._study.get_trials(deepcopy=False)
        n_there = sum("fixed_params" in trial.system_attrs for trial in trials)
        for row in space.enqueue[n_there:]:  # the first ones, if this was interrupted
            self._study.enqueue_trial(space.stored(row))
        self._study.set_user_attr(ENQUEUED, len(space.enqueue))

    def _begin(self) -> None:
        self._set_pruner(self._most_epochs())
        self._hand_out(self._desk.draw())

    def _adopt(self, number: int) -> None:
        self._set_pruner(self._most_epochs())
        running = self._desk.adopt(number)
        if running.record.state != "running":  # it had ended, and Optuna was not told in time
            self._tell(running.record)
        else:
            self._hand_out(running, continued=True)

    def _hand_out(self, running: Running, *, continued: bool = False) -> None:
        self._running[running.record.number] = running
        self._start(running)
        self._progress.began(running.record, running.config, continued=continued)
        self._notes.note(running.record.number)

    def _on_event(self, event: Event) -> None:
        running = self._running.get(event.number)
        if running is None or event.attempt != running.record.attempt:
            return  # a word from a worker of an earlier attempt
        self._watch.heard(event.number)
        match event:
            case Started():
                self._change(running, {"device": event.device, "precision": event.precision})
            case Squeezed():
                self._on_squeezed(running, event)
            case EpochDone():
                self._on_epoch(running, event)
            case Ended():
                self._on_end(running, event)
            case Failed():
                self._again_or_fail(running, running.attempts.failed(event.failure))
            case Vanished():
                self._again_or_fail(running, running.attempts.vanished(event))

    def _on_epoch(self, running: Running, event: EpochDone) -> None:
        """Report to Optuna, answer, then tell everybody else."""
        objective = self._definition.config.objective
        value = event.metrics.get(objective.metric)
        if value is None or not objective.can_be(value):
            message = f"epoch {event.epoch}: the objective metric was {value}"
            running.verdict = Failure(cause="diverged", message=message)
            return self._executor.answer(event.number, "stop")
        trial_id = self._desk.trial_id(event.number)
        # Through the storage a repeated epoch overwrites; Trial.report would keep the first.
        self._storage.set_trial_intermediate_value(trial_id, event.epoch - 1, value)
        # After its last epoch a trial has cost all it can cost: it is complete, not pruned.
        last = event.epoch >= running.record.epochs
        self._set_pruner(running.record.epochs)
        prune = not last and optuna.Trial(self._study, trial_id).should_prune()
        self._executor.answer(event.number, "prune" if prune else "continue")
        running.attempts.finished(event.epoch)
        self._watch.epoch(event.number, event.metrics.get("seconds"))
        self._progress.epoch(running.record, event.metrics)
        return self._notes.note(event.number)

    def _on_end(self, running: Running, event: Ended) -> None:
        if event.outcome == "stopped":
            failure = running.verdict or Failure(cause="crashed", message="stopped unasked")
            return self._fail(running, failure)
        return self._finish(
            running,
            {
                "state": event.outcome,
                "value": event.value,
                "best_epoch": event.best_epoch,
                "best": event.best,
                "costs": event.costs,
                "class_weights": event.class_weights,
            },
        )

    def _on_squeezed(self, running: Running, event: Squeezed) -> None:
        self._change(running, {"micro_batch": event.micro_batch})
        self._progress.stage(
            f"trial {event.number}  out of GPU memory: goes on with {event.micro_batch} of "
            f"{running.config.train.batch_size} images at once"
        )

    def _again_or_fail(self, running: Running, failure: Failure | None) -> None:
        """After an attempt that went wrong: the next, in a fresh worker, unless that is enough."""
        if failure is not None:
            return self._fail(running, failure)
        # Before the worker starts: from now on the record refuses what an earlier one writes.
        self._change(running, {"attempt": running.record.attempt + 1})
        return self._start(running)

    def _end_silent(self) -> None:
        for number, seconds in self._watch.silent().items():
            running = self._running[number]
            stacks = self._executor.abandon(number)
            self._again_or_fail(running, running.attempts.silent(seconds, stacks))

    def _start(self, running: Running) -> None:
        self._watch.begin(running.record.number)
        self._executor.start(self._desk.task(running))

    def _fail(self, running: Running, failure: Failure) -> None:
        self._finish(running, {"state": "failed", "failure": failure})

    def _finish(self, running: Running, result: dict[str, Any]) -> None:
        """Write the record, tell Optuna, tell everybody else; in this order."""
        self._change(running, result | {"ended": now()})
        record = running.record
        self._tell(record)
        del self._running[record.number]
        self._watch.end(record.number)
        self._keeper.add(record)
        self._progress.trials(self.finished(), self._wanted)
        self._progress.ended(record, self._keeper.best)
        self._notes.note(record.number)
        self._streak.add(record, self._place.paths.trial(record.number).trial_json)

    def _change(self, running: Running, update: dict[str, Any]) -> None:
        running.record = running.record.model_copy(update=update)
        write_record(self._place.paths.trial(running.record.number), running.record)

    def _tell(self, record: TrialRecord) -> None:
        if record.state == "complete":
            self._study.tell(record.number, record.value, state=TrialState.COMPLETE)
        elif record.state == "pruned":
            self._study.tell(record.number, state=TrialState.PRUNED)
        else:
            self._study.tell(record.number, state=TrialState.FAIL)

    def _most_epochs(self) -> int:
        """Epochs of a trial that is not drawn yet; Hyperband sorts trials into brackets by them."""
        space = self._definition.space
        parameter = space.by_key.get("train.epochs")
        if parameter is None:
            return int(space.constants["train.epochs"])
        return int(max(parameter.choices) if isinstance(parameter, Choice) else parameter.high)

    def _set_pruner(self, epochs: int) -> None:
        self._study.pruner = build_pruner(self._definition.config.pruner, epochs)
