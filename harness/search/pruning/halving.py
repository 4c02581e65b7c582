"""Successive halving that needs nothing but the values which trials have reported."""

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial


class HalvingPruner(BasePruner):
    """Stops a trial that is not among the best 1 / `factor` of those that came as far.

    Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934), judged after `first` epochs,
    `factor` times as many, and so on; each time by the best value so far. Of fewer than `factor`
    trials only the best goes on.

    Optuna's own writes into its database which rungs a trial has passed. A trial that was killed
    between that and the answer would be judged otherwise when it is continued, and trials that
    were imported, or read back from their folders, have no such notes.

    Args:
        first: epochs, from 1, after which a trial is judged first.
        factor: at least 2.
    """

    def __init__(self, first: int, factor: int) -> None:
        self._first, self._factor = first, factor

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or not self._is_rung(step + 1):
            return False
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        own_value = _best_value(trial, step, sign)
        others = [
            _best_value(other_trial, step, sign)
            for other_trial in study.get_trials(deepcopy=False)
            if step in other_trial.intermediate_values and other_trial.number != trial.number
        ]
        n_better = sum(value < own_value for value in others)
        return n_better >= max(1, (len(others) + 1) // self._factor)

    def _is_rung(self, epoch: int) -> bool:
        rung = self._first
        while rung < epoch:
            rung *= self._factor
        return rung == epoch


def _best_value(trial: FrozenTrial, step: int, sign: float) -> float:
    """The best value up to a step, such that less is better."""
    return min(
        sign * v for reported_step, v in trial.intermediate_values.items() if reported_step <= step
    )
