"""How often the pruner `curve` is wrong: its verdicts on the trials that it never prunes."""

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
    """What the pruner would have done to the trials that it never prunes.

    Attributes:
        n: complete ones that had something to be compared with.
        n_stopped: of these, would have been stopped.
        n_wrong: of those, ended among the best, beside the trials before them.
    """

    n: int
    n_stopped: int
    n_wrong: int

    @property
    def sentence(self) -> str:
        trials = "trial" if self.n == 1 else "trials"
        return (
            f"pruner curve: of {self.n} {trials} never pruned it would have stopped "
            f"{self.n_stopped}, wrongly {self.n_wrong} (ended among the best)"
        )


def control_arm_line(paths: StudyPaths, config: StudyConfig) -> str | None:
    """One sentence on a study's control arm, from its folder; None: there is no such arm yet."""
    if config.pruner.name != "curve":
        return None
    records = read_records(paths)
    epochs = max((record.epochs for record in records), default=1)
    pruner = CurvePruner(config.pruner, epochs, config.budget)
    trials = [_to_frozen_trial(record, paths, config) for record in records]
    maximised = config.objective.direction == "maximize"
    control = evaluate_control_arm(pruner, trials, maximised=maximised)
    return control.sentence if control.n else None


def evaluate_control_arm(
    pruner: CurvePruner, trials: Sequence[FrozenTrial], *, maximised: bool
) -> ControlArmResult:
    """Take the pruner's decisions on its control arm again, beside the trials before each.

    Args:
        trials: of a study, in order of number.
    """
    n = n_stopped = n_wrong = 0
    for index, trial in enumerate(trials):
        earlier_values = [
            value
            for earlier_trial in trials[:index]
            if (value := finite_value(earlier_trial)) is not None
        ]
        value = finite_value(trial)
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
        distributions={},  # the pruner needs none
        user_attrs={},
        system_attrs={},
        intermediate_values={
            int(line["epoch"]) - 1: line[metric] for line in lines if metric in line
        },
    )
