"""The sampler: draws a complete configuration, and again while it is forbidden or impossible.

A refused draw costs no trial and no row. It is drawn by a fresh base sampler, seeded from the study
seed, the trial's number and the number of the draw, so that a resumed study goes on as if it had
never stopped.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from harness.config import SamplerConfig
from harness.errors import ConfigError
from harness.search.study import IMPORTED
from harness.space.schema import Choice, Parameter, Space, Whole

# After so many refusals the base sampler is stuck on forbidden ground: draw uniformly instead.
# (A draw of the Gaussian process costs a fit, and returns to nearly the same point.)
MOST_GUIDED_DRAWS = {"tpe": 1_000, "gp": 10, "qmc": 100}
MOST_DRAWS = 100_000
QMC_STRIDE = 4096  # points of the sequence from one draw of a trial to the next


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """Optuna's distribution of a parameter; lists among choices are held as their JSON text."""
    if isinstance(parameter, Choice):
        return CategoricalDistribution(list(parameter.stored_choices))
    if isinstance(parameter, Whole):
        return IntDistribution(
            parameter.low, parameter.high, log=parameter.log, step=parameter.step or 1
        )
    return FloatDistribution(
        parameter.low, parameter.high, log=parameter.log, step=parameter.step or None
    )


def external_value(parameter: Parameter, stored: Any) -> Any:
    """The value in the trial configuration of what Optuna stores."""
    return parameter.value(stored) if isinstance(parameter, Choice) else stored


def suggest(space: Space, trial: optuna.Trial) -> dict[str, Any]:
    """The values of all parameters that apply, asked from `trial` in the space's order."""
    values: dict[str, Any] = {}
    listed = set(trial.relative_params) if space.rows else set(space.by_key)
    for parameter in space.parameters:
        if parameter.key in listed and space.applies(parameter, values):
            stored = _ask(trial, parameter)
            values[parameter.key] = external_value(parameter, stored)
    return values


class SpaceSampler(BaseSampler):
    """Optuna's sampler of that name, confined to what the space allows.

    Args:
        space: what may vary.
        config: which sampler, with its options.
        seed: the study's seed.
        refuse: why a combination that the space allows must not be drawn either, or None.
    """

    def __init__(
        self,
        space: Space,
        config: SamplerConfig,
        seed: int,
        refuse: Callable[[Mapping[str, Any]], str | None] = lambda _: None,
    ) -> None:
        self._space = space
        self._refuse = refuse
        self._config = config
        self._seed = seed
        self._distributions = {p.key: distribution_of(p) for p in space.parameters}
        grid = space.grid() if config.name == "grid" else ()
        self._points = [space.stored(point) for point in grid if refuse(point) is None]
        self._fallback = optuna.samplers.RandomSampler(seed=seed)

    def grid_left(self, study: optuna.Study) -> int | None:
        """How many trials this study trains, when its configurations are counted off one by one.

        Those of imported trials are done already. Enqueued rows that agree only with what imports
        and earlier rows have taken are repetitions, beside the rest.
        """
        if self._space.rows:
            return len(self._space.rows)
        if self._config.name != "grid":
            return None
        taken = [t.params for t in study.get_trials(deepcopy=False) if IMPORTED in t.user_attrs]
        left = [point for point in self._points if point not in taken]
        n_left, n_repeated = len(left), 0
        for row in self._space.enqueue:
            first = next((p for p in left if agrees(p, self._space.stored(row))), None)
            if first is None:
                n_repeated += 1
            else:
                left.remove(first)
        return n_left + n_repeated

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        if self._space.rows:
            return self._space.stored(self._space.rows[row_of(study, trial.number)])
        given = trial.system_attrs.get("fixed_params", {}) | trial.params
        if self._config.name == "grid":
            point = self._grid_point(study, trial, given)
            if point or not given:
                return point
        for draw in range(MOST_DRAWS):
            stored = self._draw(study, trial, given, draw)
            if stored is not None:
                return stored
        raise ConfigError(
            f"trial {trial.number}: {MOST_DRAWS} draws were all forbidden; "
            "loosen `forbid`, or narrow the parameters to what is allowed and can be built"
        )

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        # Reached only for an enqueued row whose conditions no complete draw has met.
        return self._fallback.sample_independent(study, trial, param_name, param_distribution)

    def _draw(
        self, study: optuna.Study, trial: FrozenTrial, given: dict[str, Any], draw: int
    ) -> dict[str, Any] | None:
        """One complete configuration as Optuna stores it; None where it is refused."""
        base = self._base(trial.number, draw)
        related = base.infer_relative_search_space(study, trial)
        drawn = base.sample_relative(study, trial, related)
        stored: dict[str, Any] = {}
        values: dict[str, Any] = {}
        for parameter in self._space.parameters:
            if not self._space.applies(parameter, values):
                continue
            key, distribution = parameter.key, self._distributions[parameter.key]
            if key in given:
                stored[key] = given[key]
            elif key in drawn and distribution._contains(distribution.to_internal_repr(drawn[key])):
                stored[key] = drawn[key]
            else:
                stored[key] = base.sample_independent(study, trial, key, distribution)
            values[key] = external_value(parameter, stored[key])
        refused = self._space.forbidden(values) or self._refuse(values)
        return stored if refused is None else None

    def _base(self, number: int, draw: int) -> BaseSampler:
        config = self._config
        seed = derive_seed(self._seed, number, draw)
        if draw >= MOST_GUIDED_DRAWS.get(config.name, 0):
            return optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if config.name == "tpe":
                return optuna.samplers.TPESampler(
                    n_startup_trials=config.n_startup_trials,
                    # With one candidate a redraw wanders; with 24 it returns to the same point.
                    n_ei_candidates=24 if draw == 0 else 1,
                    multivariate=config.multivariate,
                    group=config.group and config.multivariate,
                    seed=seed,
                )
            if config.name == "gp":
                return optuna.samplers.GPSampler(
                    n_startup_trials=config.n_startup_trials,
                    seed=seed,
                    warn_independent_sampling=False,
                )
            # One sequence for the whole study, hence one seed; the rest is drawn per trial.
            return _NumberedQMCSampler(
                number + draw * QMC_STRIDE,
                qmc_type=config.qmc_type,
                scramble=True,
                seed=self._seed,
                independent_sampler=optuna.samplers.RandomSampler(seed=seed),
                warn_independent_sampling=False,
            )

    def _grid_point(
        self, study: optuna.Study, trial: FrozenTrial, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The first configuration of the grid that no other trial has; if asked for again, again.

        Args:
            given: what an enqueued row says, and what was stored before a kill.
        """
        taken = [t.params for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        fitting = [point for point in self._points if agrees(point, given)]
        free = (point for point in fitting if point not in taken)
        return next(free, fitting[0] if fitting and given else {})


class _NumberedQMCSampler(optuna.samplers.QMCSampler):
    """Gives the point of that number in the sequence.

    Optuna counts points off in its database, so that a lost one would begin the sequence anew.
    """

    def __init__(self, point: int, **options: Any) -> None:
        super().__init__(**options)
        self._point = point

    def _find_sample_id(self, *_: Any) -> int:
        return self._point


def agrees(point: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether a configuration has all the values that are given, both as Optuna stores them."""
    return all(key in point and point[key] == value for key, value in given.items())


def row_of(study: optuna.Study, number: int) -> int:
    """Which row of a listed space a trial trains: the trials take them in order, imported aside."""
    trials = study.get_trials(deepcopy=False)
    return sum(t.number < number and IMPORTED not in t.user_attrs for t in trials)


def derive_seed(*parts: int) -> int:
    """A 32-bit seed from numbers, the same on every machine (NumPy's SeedSequence)."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _ask(trial: optuna.Trial, parameter: Parameter) -> Any:
    if isinstance(parameter, Choice):
        choices = list(parameter.stored_choices)
        return trial.suggest_categorical(parameter.key, choices)
    if isinstance(parameter, Whole):
        return trial.suggest_int(
            parameter.key,
            parameter.low,
            parameter.high,
            step=parameter.step or 1,
            log=parameter.log,
        )
    return trial.suggest_float(
        parameter.key,
        parameter.low,
        parameter.high,
        step=parameter.step or None,
        log=parameter.log,
    )
