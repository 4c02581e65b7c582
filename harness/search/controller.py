"""One controller per study: it draws, hands out, records, prunes and tells.

Life of a trial: `TrialDesk` draws a configuration and writes trial.json → an executor trains it →
every epoch arrives in `_on_epoch`, which reports to Optuna and answers → `_finish` writes
trial.json and tells Optuna. Workers write epochs.jsonl and best/; the mirror copies to MLflow.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage

from harness.execution.protocol import (
    Decision,
    Ended,
    EpochDone,
    Event,
    Executor,
    Failed,
    Squeezed,
    Started,
    Vanished,
)
from harness.paths import TrialPaths
from harness.records import Failure
from harness.search.definition import Definition
from harness.search.disk import LEAST_BYTES, Room
from harness.search.drawing import Draws
from harness.search.failures import Streak
from harness.search.inbox import Inbox
from harness.search.judging import Judge
from harness.search.ledger import Ledger
from harness.search.progress import Notes, Progress
from harness.search.retention import Keeper
from harness.search.sampler import SpaceSampler
from harness.search.stamp import Stamp
from harness.search.stopping import Stop, Stops, is_put_by
from harness.search.trials import Place, Running, TrialDesk, now
from harness.search.watch import HangWatch
from harness.search.winding_up import WindingUp
from harness.wording import count


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
        stops: what may end the study early; None: nothing.
        room: waits where a disk is full; None: for the smallest room, in the study's folder.
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
        stops: Stops | None = None,
        room: Room | None = None,
    ) -> None:
        self._study, self._definition = study, definition
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
        self._stops = stops or Stops()
        self._winding_up = WindingUp(self._stops, definition.config.limits.stop_s, clock)
        self._inbox = Inbox(executor, self._running, self._watch)
        self._judge = Judge(study, definition)
        room = room or Room([place.paths.root], LEAST_BYTES, progress, self._stops)
        self._ledger = Ledger(study, storage, place.paths, room, self._watch.all_heard)
        self._draws = Draws(study, self._desk, self._ledger, self._judge)

    def run(self, trials: int) -> Stop | None:
        """Run until `trials` trials are finished in all, counting those of earlier runs.

        Returns what stopped it before that; trials may be left running, to be adopted.
        Raises StudyStoppedError when the same cause failed three trials in a row.
        """
        grid = self._sampler.grid_left(self._study)
        self._wanted = trials if grid is None else min(trials, grid)
        self._progress.trials(self.finished(), self._wanted)
        self._desk.enqueue()
        waiting = self._draws.left_running()
        while True:
            self._look_for_stops(waiting)
            if not self._winding_up.begun:
                self._fill(waiting)
            if not self._running or self._winding_up.is_over(self._folders()):
                return self._ended()
            if (event := self._inbox.next()) is not None:
                self._on_event(event)
            if not self._winding_up.begun:
                self._end_silent()

    def _ended(self) -> Stop | None:
        stop = self._winding_up.stop
        if stop is None:  # all that were wanted are finished
            self._keeper.forget_failed()
        return stop

    def _folders(self) -> Iterator[TrialPaths]:
        return (self._place.paths.trial(number) for number in self._running)

    def _look_for_stops(self, waiting: list[int]) -> None:
        """Notice a reason to stop, once, and ask running trials to wind up if it says so."""
        if not (self._running or waiting or self._wants_more()):
            return
        if (stop := self._winding_up.look()) is not None:
            self._progress.stage(stop.line)
            if stop.winds_up:
                self._executor.wind_up()

    def _wants_more(self) -> bool:
        return self.finished() + len(self._running) < self._wanted

    def _fill(self, waiting: list[int]) -> None:
        """Give every free slot a trial: those left running first, then new ones."""
        while len(self._running) < self._executor.slots:
            if waiting:
                if (running := self._draws.adopt(waiting.pop(0))) is not None:
                    self._hand_out(running, continued=True)
            elif self._winding_up.stop is None and self._wants_more():
                self._hand_out(self._draws.new(self._running))
            else:
                break

    def finished(self) -> int:
        """Trials that are complete, pruned or failed; imported ones do not count."""
        return self._ledger.n_finished

    def _hand_out(self, running: Running, *, continued: bool = False) -> None:
        self._running[running.record.number] = running
        self._start(running)
        self._progress.began(running.record, running.config, continued=continued)
        self._notes.note(running.record.number)

    def _on_event(self, event: Event) -> None:
        if not self._inbox.is_current(event):
            return
        running = self._running[event.number]
        self._watch.heard(event.number)
        if self._winding_up.begun and is_put_by(event, judged=running.verdict is not None):
            del self._running[event.number]
            self._notes.note(event.number)
            return
        match event:
            case Started():
                self._change(running, {"device": event.device, "precision": event.precision})
            case Squeezed():
                self._on_squeezed(running, event)
            case EpochDone():
                self._on_epoch(running, event)
            case Ended():
                self._on_end(running, event)
            case Failed() if event.failure.cause == "disk_full":
                self._continue_when_there_is_room(running, event)
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
        self._ledger.remember(running.trial, event.epoch, value)
        prune = self._judge.prunes(running, event.epoch)
        if prune and running.record.pruned_after is None:
            # Before Optuna holds the epoch: a trial that is killed now ends here when it continues.
            self._change(running, {"pruned_after": event.epoch})
        self._ledger.report(running.trial, event.epoch, value)
        last = event.epoch >= running.record.epochs
        on: Decision = "stop" if self._winding_up.begun and not last else "continue"
        self._executor.answer(event.number, "prune" if prune else on)
        if running.attempts.finished(event.epoch):
            self._ledger.advanced()
        self._watch.epoch(event.number, event.metrics.get("seconds"))
        self._stops.epoch(event.number, event.metrics)
        self._progress.epoch(running.record, event.metrics)
        return self._notes.note(event.number)

    def _on_end(self, running: Running, event: Ended) -> None:
        if event.outcome == "stopped":
            if running.verdict is not None:
                return self._fail(running, running.verdict)
            failure = Failure(cause="crashed", message="stopped unasked")
            return self._again_or_fail(running, running.attempts.failed(failure))
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
            f"{count(running.config.train.batch_size, 'image')} at once"
        )

    def _again_or_fail(self, running: Running, failure: Failure | None) -> None:
        """After an attempt that went wrong: the next, in a fresh worker, unless that is enough."""
        failure = running.verdict or failure  # it had failed before, whatever its worker met since
        if failure is not None:
            return self._fail(running, failure)
        return self._start_again(running)

    def _end_silent(self) -> None:
        for number, seconds in self._inbox.silent().items():
            running = self._running[number]
            stacks = self._executor.abandon(number)
            self._again_or_fail(running, running.attempts.silent(seconds, stacks))

    def _start_again(self, running: Running) -> None:
        # Before the worker starts: from now on the record refuses what an earlier one writes.
        attempt = running.record.attempt + 1
        self._change(running, {"attempt": attempt, "judged": running.judged})
        self._start(running)

    def _start(self, running: Running) -> None:
        self._watch.begin(running.record.number)
        self._executor.start(self._desk.task(running))

    def _continue_when_there_is_room(self, running: Running, event: Failed) -> None:
        """What could not be written was not reported: the trial goes on from its checkpoint."""
        if running.verdict is not None:  # it had failed before
            return self._fail(running, running.verdict)
        said = event.failure.message.splitlines()[0][:200]
        self._ledger.wait(f"trial {event.number}: {said}", event.full)
        return self._start_again(running)

    def _fail(self, running: Running, failure: Failure) -> None:
        self._finish(running, {"state": "failed", "failure": failure})

    def _finish(self, running: Running, result: dict[str, Any]) -> None:
        """Write the record, tell Optuna, tell everybody else; in this order."""
        self._change(running, result | {"ended": now()})
        record = running.record
        self._ledger.tell(record)
        del self._running[record.number]
        self._watch.end(record.number)
        self._keeper.add(record)
        self._stops.ended(record)
        self._progress.trials(self.finished(), self._wanted)
        self._progress.ended(record, self._keeper.best)
        self._notes.note(record.number)
        self._streak.add(record, self._place.paths.trial(record.number).trial_json)

    def _change(self, running: Running, update: dict[str, Any]) -> None:
        running.record = self._ledger.changed(running.record, update)
