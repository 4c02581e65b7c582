"""From `pruner:` in study.yaml to the pruner that Optuna asks."""

import math
import warnings

import optuna
from optuna.pruners import BasePruner

from harness.config.study import BudgetConfig, PrunerConfig
from harness.search.pruning.halving import HalvingPruner
from harness.search.pruning.learning_curve import CurvePruner
from harness.space.space import Categorical, SearchSpace

# Of the epochs of a trial, after which halving judges it first; what the first epoch says is luck.
FIRST_RUNG_SHARE = 1 / 8


def build_pruner(
    config: PrunerConfig, epochs: int, budget: BudgetConfig | None = None
) -> BasePruner:
    """The pruner for a trial of `epochs` epochs.

    Optuna counts steps from 0: epoch e is step e - 1, so a warm-up of w epochs, w being
    ceil(warmup * epochs), first allows pruning after epoch w + 1.

    Args:
        budget: of the study; `curve` is bolder where hours are limited.

    Sources:
        median, percentile: Golovin et al. 2017 (Google Vizier), the median stopping rule.
        halving: Li et al. 2020 (ASHA). hyperband: Li et al. 2018.
    """
    warmup = math.ceil(config.warmup * epochs - 1e-9)  # 0.3 * 10 is 3.0000000000000004
    match config.name:
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return _percentile_pruner(config, 50.0, warmup)
        case "percentile":
            return _percentile_pruner(config, config.percentile, warmup)
        case "halving":
            first = config.min_resource or max(2, math.ceil(epochs * FIRST_RUNG_SHARE))
            return HalvingPruner(first, config.reduction_factor or 2)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=min(config.min_resource or 1, epochs),
                max_resource=epochs,
                reduction_factor=config.reduction_factor or 3,
            )
        case "patient":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.pruners.PatientPruner(
                    _percentile_pruner(config, 50.0, warmup),
                    patience=config.patience,
                    min_delta=config.min_delta,
                )
        case "curve":
            return CurvePruner(config, epochs, budget)


def _percentile_pruner(config: PrunerConfig, percentile: float, warmup: int) -> BasePruner:
    return optuna.pruners.PercentilePruner(
        percentile,
        n_startup_trials=config.n_startup_trials,
        n_warmup_steps=warmup,
        n_min_trials=config.n_min_trials,
    )


def max_epochs(space: SearchSpace) -> int:
    """Epochs of a trial that is not drawn yet; Hyperband sorts trials into brackets by them."""
    parameter = space.by_key.get("train.epochs")
    if parameter is None:
        return int(space.constants["train.epochs"])
    return int(max(parameter.choices) if isinstance(parameter, Categorical) else parameter.high)
