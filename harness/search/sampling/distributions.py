"""Parameters of a space as Optuna's distributions, suggested in the order of the space."""

import json
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from harness.space.space import Categorical, IntRange, Parameter, SearchSpace


def to_distribution(parameter: Parameter) -> BaseDistribution:
    """Optuna distribution of a parameter.

    Optuna allows only None, bool, int, float and str as choices, so lists become JSON text.
    """
    if isinstance(parameter, Categorical):
        return CategoricalDistribution(list(parameter.optuna_choices))
    if isinstance(parameter, IntRange):
        return IntDistribution(
            parameter.low, parameter.high, log=parameter.log, step=parameter.step or 1
        )
    return FloatDistribution(
        parameter.low, parameter.high, log=parameter.log, step=parameter.step or None
    )


def recorded_distributions(parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Optuna distributions of parameters by key, as in trial.json."""
    return {p.key: json.loads(distribution_to_json(to_distribution(p))) for p in parameters}


def external_value(parameter: Parameter, stored: Any) -> Any:
    """Value in the trial configuration for a value as Optuna stores it."""
    return parameter.from_optuna(stored) if isinstance(parameter, Categorical) else stored


def suggest_values(space: SearchSpace, trial: optuna.Trial) -> dict[str, Any]:
    """Suggest all active parameters of a trial, in the order of the space.

    Returns:
        Values by full key, as in the trial configuration.
    """
    values: dict[str, Any] = {}
    # A row of a CSV space may leave out a parameter;
    # suggesting it here would sample a value for it.
    listed = set(trial.relative_params) if space.rows else set(space.by_key)
    for parameter in space.parameters:
        if parameter.key in listed and space.is_active(parameter, values):
            stored = _suggest_stored(trial, parameter)
            values[parameter.key] = external_value(parameter, stored)
    return values


def _suggest_stored(trial: optuna.Trial, parameter: Parameter) -> Any:
    if isinstance(parameter, Categorical):
        choices = list(parameter.optuna_choices)
        return trial.suggest_categorical(parameter.key, choices)
    if isinstance(parameter, IntRange):
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
