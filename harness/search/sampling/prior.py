"""Draws guided by good configurations of earlier studies on other data (`--prior`).

The first trials alternate between a small, diverse portfolio of these configurations and the
sampler's own draws, until one of these is better. Afterwards a draw comes from the prior with a
probability that follows from what the study's own trials say: it is the rank correlation between
how near a trial is to the prior's configurations and how well it did, and it fades as own trials
come in. A wrong prior costs a part of its portfolio, which is a tenth of the trials, since its
correlation is not positive.

Source: after PriorBand (Mallik et al. 2023, "PriorBand: practical hyperparameter optimization in
the age of deep learning"), which draws near one configuration and weighs it by Hyperband's rungs.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import optuna
import scipy  # scipy.stats is imported at its first use
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from harness.config.imports import PriorConfig
from harness.search.storage.optuna_study import own_trials
from harness.space.parameters import Categorical, IntRange, Parameter, is_number
from harness.space.space import SearchSpace

MIN_TRIALS = 4  # finished ones, from which the correlation is computed
FADE_TRIALS = 10  # own trials after which the probability has halved
KERNEL_WIDTH = 0.15  # mean distance of parameters, each in [0, 1]
STEP_WIDTH = 0.1  # standard deviation of a drawn number, as a share of its range
KEEP_CHOICE = 0.8  # probability that a choice of the prior is kept

Row = Mapping[str, Any]


class PriorGuide:
    """Proposes values of trials from the priors of a study.

    Args:
        space: the search space.
        priors: configurations of earlier studies, the best of each first.
    """

    def __init__(self, space: SearchSpace, priors: Sequence[PriorConfig]) -> None:
        self._space = space
        in_turn = zip_longest(*(prior.rows for prior in priors))
        # Fitted once more: study.yaml is text that anyone can edit.
        fitted = (fit_row(space, row) for rows in in_turn for row in rows if row is not None)
        self._rows: list[Row] = [row for row in fitted if row]
        self._portfolio = self._diverse_rows(sum(prior.first for prior in priors))
        self._nearness: dict[int, float] = {}  # of finished trials, by number
        # Of the latest trial: its number, its row of the portfolio, and the probability otherwise.
        self._latest: tuple[int, Row | None, float] | None = None

    def propose(
        self, study: optuna.Study, number: int, draw: int, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Values of a trial's parameters as Optuna stores them; {}: the sampler's own draw.

        Args:
            number: number of the trial.
            draw: number of rejected draws of this trial before this one.
        """
        # Computed once for a trial: a narrow space may reject hundreds of draws.
        if self._latest is None or self._latest[0] != number or draw == 0:
            self._latest = number, *self._judge(study, number)
        _, first_row, probability = self._latest
        if first_row is not None:
            return self._space.to_optuna(first_row if draw == 0 else self._vary(first_row, rng))
        if not self._rows or rng.random() >= probability:
            return {}
        row = self._rows[int(rng.integers(len(self._rows)))]
        return self._space.to_optuna(self._vary(row, rng))

    def _judge(self, study: optuna.Study, number: int) -> tuple[Row | None, float]:
        """Row of the portfolio for this trial, or None with the probability of a later draw."""
        before = [trial for trial in own_trials(study) if trial.number < number]
        ended = [t for t in before if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        judged = [trial for trial in ended if trial.intermediate_values]
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        turn, is_own = divmod(len(before), 2)
        if turn < len(self._portfolio) and not is_own and self._leads(judged, sign):
            return self._portfolio[turn], 0.0
        return None, self._probability(judged, sign, len(before))

    def _leads(self, judged: Sequence[FrozenTrial], sign: float) -> bool:
        """True unless the best of the study's own draws is better than the portfolio's best."""
        portfolio = [self._space.to_optuna(row) for row in self._portfolio]

        def is_of_portfolio(trial: FrozenTrial) -> bool:
            return any(row.items() <= trial.params.items() for row in portfolio)

        own = [_merit(trial, sign) for trial in judged if not is_of_portfolio(trial)]
        prior = [_merit(trial, sign) for trial in judged if is_of_portfolio(trial)]
        return not own or not prior or max(prior) >= max(own)

    def _probability(self, judged: Sequence[FrozenTrial], sign: float, n_before: int) -> float:
        """Probability of a draw from the prior, in [0, 1]."""
        if len(judged) < MIN_TRIALS:
            return 0.0
        nearness = [self._near(trial) for trial in judged]
        order = sorted(range(len(judged)), key=lambda i: _merit(judged[i], sign))
        merit = np.empty(len(judged))
        merit[order] = np.arange(len(judged))
        if np.ptp(nearness) == 0:
            return 0.0
        correlation = float(scipy.stats.spearmanr(nearness, merit).statistic)
        return max(0.0, correlation) * FADE_TRIALS / (FADE_TRIALS + n_before)

    def _near(self, trial: FrozenTrial) -> float:
        if trial.number not in self._nearness:
            values = self._space.from_optuna(trial.params)
            distances = np.array([self._distance(values, row) for row in self._rows])
            kernel = np.exp(-((distances / KERNEL_WIDTH) ** 2) / 2)
            self._nearness[trial.number] = float(kernel.mean())
        return self._nearness[trial.number]

    def _distance(self, a: Row, b: Row) -> float:
        """Mean distance of the parameters that both have; 1 if there is none."""
        shared = [p for p in self._space.parameters if p.key in a and p.key in b]
        if not shared:
            return 1.0
        return sum(_difference(p, a[p.key], b[p.key]) for p in shared) / len(shared)

    def _diverse_rows(self, n: int) -> list[Row]:
        """Portfolio: the best configuration, then those that are good and far from the chosen."""
        chosen: list[Row] = []
        left = list(enumerate(self._rows))
        while left and len(chosen) < n:

            def score(entry: tuple[int, Row]) -> float:
                rank, row = entry
                apart = min((self._distance(row, other) for other in chosen), default=1.0)
                return apart * (1 - rank / len(self._rows))

            best = max(left, key=score)
            left.remove(best)
            chosen.append(best[1])
        return chosen

    def _vary(self, row: Row, rng: np.random.Generator) -> dict[str, Any]:
        """A configuration near this one."""
        return {
            parameter.key: _varied(parameter, row[parameter.key], rng)
            for parameter in self._space.parameters
            if parameter.key in row
        }


def fit_row(space: SearchSpace, config: Mapping[str, Any]) -> dict[str, Any]:
    """Values of an earlier trial that this space can draw; numbers out of range become its ends.

    Args:
        config: the complete configuration of the trial, by full key.

    Returns:
        Values by full key, without parameters that are inactive or whose choice the space lacks.
    """
    values: dict[str, Any] = {}
    for parameter in space.parameters:
        if parameter.key in config and space.is_active(parameter, values):
            for value in _nearest(parameter, config[parameter.key]):
                values[parameter.key] = value
    return values


def _nearest(parameter: Parameter, value: Any) -> Iterator[Any]:
    """The value of the parameter nearest to this one, if there is any."""
    if parameter.contains(value):
        yield parameter.canonical(value)
    elif not isinstance(parameter, Categorical) and is_number(value):
        # A rate of 0 in a space of logarithms is below its range.
        unit = 0.0 if parameter.log and value <= 0 else _to_unit(parameter, value)
        yield _from_unit(parameter, min(max(unit, 0.0), 1.0))


def _varied(parameter: Parameter, value: Any, rng: np.random.Generator) -> Any:
    if isinstance(parameter, Categorical):
        is_kept = rng.random() < KEEP_CHOICE
        return value if is_kept else parameter.choices[int(rng.integers(len(parameter.choices)))]
    unit = _to_unit(parameter, value) + rng.normal(0.0, STEP_WIDTH)
    return _from_unit(parameter, min(max(unit, 0.0), 1.0))


def _difference(parameter: Parameter, a: Any, b: Any) -> float:
    """Distance of two values, in [0, 1]; 1 for different choices."""
    if isinstance(parameter, Categorical):
        return float(a != b)
    return abs(_to_unit(parameter, a) - _to_unit(parameter, b))


def _to_unit(parameter: Parameter, value: float) -> float:
    """Position of a number in its range, 0 for `low` and 1 for `high`."""
    assert not isinstance(parameter, Categorical)
    low, high = float(parameter.low), float(parameter.high)
    if low == high:
        return 0.0
    if parameter.log:
        return math.log(value / low) / math.log(high / low)
    return (float(value) - low) / (high - low)


def _from_unit(parameter: Parameter, unit: float) -> Any:
    assert not isinstance(parameter, Categorical)
    low, high = float(parameter.low), float(parameter.high)
    value = low * (high / low) ** unit if parameter.log else low + unit * (high - low)
    value = min(max(value, low), high)  # rounding errors
    if isinstance(parameter, IntRange):
        index = min(round((value - low) / parameter.step), parameter.size - 1)
        return parameter.low + index * parameter.step
    if parameter.step is None or parameter.size is None:
        return value
    return parameter.value_at(min(round((value - low) / parameter.step), parameter.size - 1))


def _merit(trial: FrozenTrial, sign: float) -> tuple[int, float]:
    """Key that sorts trials from bad to good: epochs that the pruner allowed, then best value."""
    best = min(sign * value for value in trial.intermediate_values.values())
    return len(trial.intermediate_values), -best
