"""Error rate of the pruner `curve`, measured on its control arm: the trials it never prunes."""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from harness.config.study import StudyConfig
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_epochs, read_records
from harness.search.pruning.learning_curve import CurvePruner, finite_value

STATE_BY_RECORD = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}


@dataclass(frozen=True)
class ControlArmResult:
    """Decisions that the pruner would have made on the control arm.

    Attributes:
        n: complete trials of the control arm that had earlier complete trials for comparison.
        n_stopped: number of these that the pruner would have stopped.
        n_wrong: number of stopped ones that ended among the best of all trials up to them.
    """

    n: int
    n_stopped: int
    n_wrong: int

    @property
    def sentence(self) -> str:
        """Summary for the report."""
        trials = "trial" if self.n == 1 else "trials"
        return (
            f"pruner curve: of {self.n} {trials} never pruned it would have stopped "
            f"{self.n_stopped}, wrongly {self.n_wrong} (ended among the best)"
        )


def control_arm_line(paths: StudyPaths, config: StudyConfig) -> str | None:
    """Summary of a study's control arm, computed from its folder.

    Returns:
        None with another pruner, or before the control arm has a comparable trial.
    """
    if config.pruner.name != "curve":
        return None
    records = read_records(paths)
    epochs = max((record.epochs for record in records), default=1)
    pruner = CurvePruner(config.pruner, epochs, config.budget)
    trials = [_to_frozen_trial(record, paths, config) for record in records]
    maximised = not config.objective.minimized
    control = evaluate_control_arm(pruner, trials, maximised=maximised)
    return control.sentence if control.n else None


def evaluate_control_arm(
    pruner: CurvePruner, trials: Sequence[FrozenTrial], *, maximised: bool
) -> ControlArmResult:
    """Repeat the pruner's decisions on its control arm, each with the trials before it only.

    Args:
        pruner: the pruner under evaluation.
        trials: all trials of a study, in order of number.
        maximised: True if larger objective values are better.
    """
    n = n_stopped = n_wrong = 0
    for index, trial in enumerate(trials):
        # Later trials are excluded: the pruner did not have them when it decided.
        earlier_values = [v for t in trials[:index] if (v := finite_value(t)) is not None]
        value = finite_value(trial)
        # A pruned or failed trial has no final value that could prove a decision wrong.
        if not pruner.is_control(trial.number) or value is None or not earlier_values:
            continue
        stopped = _would_stop(pruner, trial, trials[:index], maximised=maximised)
        threshold = pruner.best_threshold(earlier_values, index + 1, maximised=maximised)
        wrong = stopped and (value > threshold if maximised else value < threshold)
        n, n_stopped, n_wrong = n + 1, n_stopped + stopped, n_wrong + wrong
    return ControlArmResult(n, n_stopped, n_wrong)


def _would_stop(
    pruner: CurvePruner, trial: FrozenTrial, before: Sequence[FrozenTrial], *, maximised: bool
) -> bool:
    # The pruner was asked after each epoch, so any single positive answer would have stopped it.
    values = trial.intermediate_values
    return any(
        pruner.should_stop(
            trial,
            before,
            maximised=maximised,
            observed_values={step: value for step, value in values.items() if step <= last},
        )
        for last in sorted(values)
    )


def _to_frozen_trial(record: TrialRecord, paths: StudyPaths, config: StudyConfig) -> FrozenTrial:
    metric = config.objective.metric
    lines = read_epochs(paths.trial(record.number))
    return FrozenTrial(
        number=record.number,
        trial_id=record.number,
        state=STATE_BY_RECORD[record.state],
        value=record.value if record.state == "complete" else None,
        datetime_start=None,
        datetime_complete=None,
        params=dict(record.params),
        distributions={},  # not read by the pruner
        user_attrs={},
        system_attrs={},
        intermediate_values={
            int(line["epoch"]) - 1: line[metric] for line in lines if metric in line
        },
    )
