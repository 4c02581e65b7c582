"""One trial while a worker trains it, as the controller and its observers see it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import optuna

from harness.config.study import TrialConfig
from harness.core.records import TrialFailure, TrialRecord
from harness.search.run.failures import AttemptCounter


@dataclass
class RunningTrial:
    """A trial that a worker is training."""

    trial: optuna.Trial
    record: TrialRecord
    config: TrialConfig
    attempts: AttemptCounter = field(default_factory=AttemptCounter)
    pending_failure: TrialFailure | None = None  # found by the controller; the worker still stops
    last_pruner_epoch: int = 0  # last epoch evaluated by the pruner, in any attempt
    unregistered_steps: Sequence[int] = ()  # of earlier attempts; a rebuilt study lacks rung notes
