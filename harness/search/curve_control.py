"""How often the pruner `curve` is wrong: its verdicts on the trials that it never prunes."""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from harness.config import StudyConfig
from harness.paths import StudyPaths
from harness.records import TrialRecord, read_epochs, read_records
from harness.search.curve_pruner import CurvePruner, value_of

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}


@dataclass(frozen=True)
class Control:
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


def control_line(paths: StudyPaths, config: StudyConfig) -> str | None:
    """One sentence on a study's control arm, from its folder; None: there is no such arm yet."""
    if config.pruner.name != "curve":
        return None
    records = read_records(paths)
    epochs = max((record.epochs for record in records), default=1)
    pruner = CurvePruner(config.pruner, epochs, config.budget)
    trials = [_trial(record, paths, config) for record in records]
    maximised = config.objective.direction == "maximize"
    control = control_of(pruner, trials, maximised=maximised)
    return control.sentence if control.n else None


def control_of(pruner: CurvePruner, trials: Sequence[FrozenTrial], *, maximised: bool) -> Control:
    """Take the pruner's decisions on its control arm again, beside the trials before each.

    Args:
        trials: of a study, in order of number.
    """
    n = n_stopped = n_wrong = 0
    for at, trial in enumerate(trials):
        before = [value for one in trials[:at] if (value := value_of(one)) is not None]
        value = value_of(trial)
        if not pruner.is_control(trial.number) or value is None or not before:
            continue
        stopped = _would_stop(pruner, trial, trials[:at], maximised=maximised)
        needed = pruner.bar(before, at + 1, maximised=maximised)
        wrong = stopped and (value > needed if maximised else value < needed)
        n, n_stopped, n_wrong = n + 1, n_stopped + stopped, n_wrong + wrong
    return Control(n, n_stopped, n_wrong)


def _would_stop(
    pruner: CurvePruner, trial: FrozenTrial, before: Sequence[FrozenTrial], *, maximised: bool
) -> bool:
    values = trial.intermediate_values
    return any(
        pruner.stops(
            trial,
            before,
            maximised=maximised,
            seen={step: value for step, value in values.items() if step <= last},
        )
        for last in sorted(values)
    )


def _trial(record: TrialRecord, paths: StudyPaths, config: StudyConfig) -> FrozenTrial:
    metric = config.objective.metric
    lines = read_epochs(paths.trial(record.number))
    return FrozenTrial(
        number=record.number,
        trial_id=record.number,
        state=STATES[record.state],
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
