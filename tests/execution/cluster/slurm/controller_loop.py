"""A loop that trains trials like the controller: it counts attempts, and repeats lost ones."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from harness.execution.protocol import (
    EpochReport,
    Event,
    Executor,
    TrialFailed,
    TrialFinished,
    WorkerDied,
)
from tests.execution.cluster.nodes import TinyStudy


class ControllerLoop:
    """Trains trials to their end, whatever happens to their workers.

    Attributes:
        n_attempts: of each trial.
        ended: last event of each trial.
        n_epochs: reported so far, by every attempt.
        trained: number, epoch and duration of each epoch that was computed.
    """

    def __init__(
        self, executor: Executor, study: TinyStudy, numbers: Iterable[int], **settings: Any
    ) -> None:
        self._executor, self._study, self._settings = executor, study, settings
        self._waiting = list(numbers)
        self.n_attempts: dict[int, int] = {}
        self.ended: dict[int, Event] = {}
        self.n_epochs = 0
        self.trained: set[tuple[int, int, float]] = set()
        self._hooks: dict[int, Callable[[], None]] = {}
        self._trained_hooks: dict[int, Callable[[], None]] = {}

    def at_epoch(self, n_epochs: int, hook: Callable[[], None]) -> None:
        """Call `hook` after so many reported epochs of all trials together."""
        self._hooks[n_epochs] = hook

    def at_trained(self, n_trained: int, hook: Callable[[], None]) -> None:
        """Call `hook` once so many epochs were computed, however often they are reported."""
        self._trained_hooks[n_trained] = hook

    def run(self, timeout_s: float = 120.0) -> None:
        numbers, end = set(self._waiting), time.monotonic() + timeout_s
        while numbers - self.ended.keys():
            assert time.monotonic() < end, f"ended: {sorted(self.ended)} of {sorted(numbers)}"
            while self._waiting and self._n_running() < max(1, self._executor.slots):
                self._start(self._waiting.pop(0))
            if (event := self._executor.next_event(0.5)) is not None:
                self._handle(event)

    def _n_running(self) -> int:
        return len(self.n_attempts.keys() - self.ended.keys())

    def _start(self, number: int) -> None:
        attempt = self.n_attempts[number] = self.n_attempts.get(number, 0) + 1
        self._executor.start(self._study.task(number, attempt, **self._settings))

    def _handle(self, event: Event) -> None:
        if event.attempt != self.n_attempts[event.number]:
            return
        match event:
            case EpochReport():
                self.n_epochs += 1
                # A continued attempt reports the epochs of earlier ones again, as they were.
                self.trained.add((event.number, event.epoch, event.metrics["seconds"]))
                self._executor.answer(event.number, "continue")
                hooks = (
                    self._hooks.pop(self.n_epochs, None),
                    self._trained_hooks.pop(len(self.trained), None),
                )
                for hook in hooks:
                    if hook is not None:
                        hook()
            case TrialFinished() | TrialFailed():
                self.ended[event.number] = event
            case WorkerDied():
                self._start(event.number)
