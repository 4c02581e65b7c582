"""Sampler of complete configurations, with rejection of forbidden and impossible ones.

A rejected draw uses up no trial and no row of the database. Each draw comes from a new base
sampler, seeded from the study seed, the trial number and the draw number, so that a resumed study
continues exactly as an uninterrupted one.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from harness.config.imports import PriorConfig
from harness.config.study import SamplerConfig
from harness.core.errors import ConfigError
from harness.search.sampling.distributions import external_value, to_distribution
from harness.search.sampling.prior import PriorGuide
from harness.search.sampling.seeds import derive_seed
from harness.search.storage.optuna_study import IMPORTED_ATTR
from harness.space.space import SearchSpace

# After this many rejections the base sampler is stuck in a forbidden region: draw uniformly
# instead. (Each draw of the Gaussian process costs a fit, and returns to nearly the same point.)
MAX_GUIDED_DRAWS = {"tpe": 1_000, "gp": 10, "qmc": 100}
MAX_DRAWS = 100_000
MAX_PRIOR_DRAWS = 100  # rejected draws of one trial, after which its prior is ignored
_PRIOR_STREAM = 1  # apart from the base sampler, whose seed it shares
# Distance in the QMC sequence between two draws of one trial: trials with smaller numbers than
# this never share a point.
QMC_STRIDE = 4096


class SpaceSampler(BaseSampler):
    """Optuna sampler whose draws are restricted to the allowed part of the space.

    Args:
        space: the search space.
        config: name and options of the base sampler.
        seed: seed of the study.
        refuse: returns a reason against a combination that the space itself allows, or None.
        priors: good configurations of earlier studies.
    """

    def __init__(
        self,
        space: SearchSpace,
        config: SamplerConfig,
        seed: int,
        refuse: Callable[[Mapping[str, Any]], str | None] = lambda _: None,
        priors: Sequence[PriorConfig] = (),
    ) -> None:
        self._space = space
        self._refuse = refuse
        self._prior = PriorGuide(space, priors) if priors else None
        self._config = config
        self._seed = seed
        self._distributions = {p.key: to_distribution(p) for p in space.parameters}
        grid = space.grid() if config.name == "grid" else ()
        self._points = [space.to_optuna(point) for point in grid if refuse(point) is None]
        self._fallback = optuna.samplers.RandomSampler(seed=seed)

    def n_grid_trials(self, study: optuna.Study) -> int | None:
        """Number of trials that this study trains with a CSV space or the grid sampler.

        Configurations of imported trials are not trained again. An enqueued row counts as an
        additional repetition if imports and earlier rows already cover all matching grid points.

        Returns:
            None with another sampler, which has no fixed number.
        """
        if self._space.rows:
            return len(self._space.rows)
        if self._config.name != "grid":
            return None
        imported_params = [
            t.params for t in study.get_trials(deepcopy=False) if IMPORTED_ATTR in t.user_attrs
        ]
        remaining = [point for point in self._points if point not in imported_params]
        n_remaining, n_repeated = len(remaining), 0
        for row in self._space.enqueue:
            first = next(
                (p for p in remaining if matches_given(p, self._space.to_optuna(row))), None
            )
            if first is None:
                n_repeated += 1
            else:
                remaining.remove(first)
        return n_remaining + n_repeated

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
            return self._space.to_optuna(self._space.rows[row_index_of_trial(study, trial.number)])
        given = trial.system_attrs.get("fixed_params", {}) | trial.params
        if self._config.name == "grid":
            point = self._grid_point(study, trial, given)
            if point or not given:
                return point
        for draw in range(MAX_DRAWS):
            stored = self._draw_candidate(study, trial, given, draw)
            if stored is not None:
                return stored
        raise ConfigError(
            f"trial {trial.number}: {MAX_DRAWS} draws were all forbidden; "
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

    def _draw_candidate(
        self, study: optuna.Study, trial: FrozenTrial, given: dict[str, Any], draw: int
    ) -> dict[str, Any] | None:
        """One complete configuration as Optuna stores it; None if it is rejected."""
        base = self._base_sampler(trial.number, draw)
        related = base.infer_relative_search_space(study, trial)
        drawn = base.sample_relative(study, trial, related)
        if self._prior is not None and not given and draw < MAX_PRIOR_DRAWS:
            rng = np.random.default_rng(
                [derive_seed(self._seed, trial.number, draw), _PRIOR_STREAM]
            )
            drawn = drawn | self._prior.propose(study, trial.number, draw, rng)
        stored: dict[str, Any] = {}
        values: dict[str, Any] = {}
        for parameter in self._space.parameters:
            if not self._space.is_active(parameter, values):
                continue
            key, distribution = parameter.key, self._distributions[parameter.key]
            if key in given:
                stored[key] = given[key]
            # Group TPE keeps the first range it saw of a parameter: a value may lie outside ours.
            elif key in drawn and distribution._contains(distribution.to_internal_repr(drawn[key])):
                stored[key] = drawn[key]
            else:
                stored[key] = base.sample_independent(study, trial, key, distribution)
            values[key] = external_value(parameter, stored[key])
        refusal = self._space.refusal_reason(values) or self._refuse(values)
        return stored if refusal is None else None

    def _base_sampler(self, number: int, draw: int) -> BaseSampler:
        config = self._config
        seed = derive_seed(self._seed, number, draw)
        if draw >= MAX_GUIDED_DRAWS.get(config.name, 0):
            return optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if config.name == "tpe":
                return optuna.samplers.TPESampler(
                    n_startup_trials=config.n_startup_trials,
                    # With Optuna's 24 candidates a redraw returns to the same rejected point: it
                    # got stuck for good in 2 of 4 seeds. With one candidate it never did.
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
            # All trials share one QMC sequence, hence the study's seed; parameters outside the
            # sequence come from a sampler seeded per trial.
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
        """First grid point that no other trial uses.

        Args:
            given: values of an enqueued row, or values stored before the process was killed. If
                all matching points are used, the first one is repeated.
        """
        used_params = [
            t.params for t in study.get_trials(deepcopy=False) if t.number != trial.number
        ]
        matching = [point for point in self._points if matches_given(point, given)]
        free = (point for point in matching if point not in used_params)
        return next(free, matching[0] if matching and given else {})


class _NumberedQMCSampler(optuna.samplers.QMCSampler):
    """QMC sampler that returns the point with a given number.

    Optuna's own class counts the points in its database, so a lost database would restart the
    sequence.
    """

    def __init__(self, point: int, **options: Any) -> None:
        super().__init__(**options)
        self._point = point

    def _find_sample_id(self, *_: Any) -> int:
        return self._point


def matches_given(point: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """True if a configuration has all given values; both are as Optuna stores them."""
    return all(key in point and point[key] == value for key, value in given.items())


def row_index_of_trial(study: optuna.Study, number: int) -> int:
    """Index of the CSV row that a trial trains: rows in order, imported trials not counted."""
    trials = study.get_trials(deepcopy=False)
    return sum(t.number < number and IMPORTED_ATTR not in t.user_attrs for t in trials)
