"""Importance of each parameter for reaching the best trials, overall and per branch of the space.

Only significant parameters are named (`harness.report.analysis.permutation_test`).
"""

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import optuna

from harness.core.errors import ConfigError
from harness.core.records import TrialRecord
from harness.report.analysis.permutation_test import LEVEL, find_decisive_parameters
from harness.report.tables.study_tables import StudyTables, group_by_value, ranked_records

MIN_IMPORTANCE_TRIALS = 5
# PED-ANOVA takes seconds per thousand trials, and more trials hardly change its shares.
MAX_IMPORTANCE_TRIALS = 1000


@dataclass(frozen=True)
class SpaceBranch:
    """Complete trials with one value of a parameter that others depend on, best first."""

    key: str
    value: str
    records: tuple[TrialRecord, ...]


@dataclass(frozen=True)
class ParameterImportance:
    """Importance of a significant parameter.

    Attributes:
        share: share in reaching the best trials, by PED-ANOVA; the shares of all named parameters
            add up to 1.
        explained, shuffled: as in `DecisiveParameter`.
    """

    key: str
    share: float
    explained: float
    shuffled: float


@dataclass(frozen=True)
class ImportanceResult:
    """Significant parameters, and the share that chance reaches.

    Attributes:
        named: the significant parameters, the largest share first.
        n_varied: number of parameters that vary among the trials; 0 with too few trials, or if all
            trials have the same value.
        shuffled: as in `PermutationTestResult`.
    """

    named: tuple[ParameterImportance, ...]
    n_varied: int
    shuffled: float | None


def importance_shares(
    tables: StudyTables, records: Sequence[TrialRecord] | None = None
) -> dict[str, float]:
    """Share of each significant parameter, largest first; the shares add up to 1.

    {} if no parameter is significant; arguments as in `measure_importances`.
    """
    return {
        parameter.key: parameter.share for parameter in measure_importances(tables, records).named
    }


def measure_importances(
    tables: StudyTables, records: Sequence[TrialRecord] | None = None, level: float = LEVEL
) -> ImportanceResult:
    """Parameters whose values explain more of the trials' order than shuffled values do.

    Args:
        records: as in `pedanova_shares`.
        level: as in `find_decisive_parameters`.
    """
    complete = sample_by_rank(ranked_records(tables) if records is None else records)
    varied_keys = [key for key in tables.parameters if _varies(key, complete)]
    if len(complete) < MIN_IMPORTANCE_TRIALS or not varied_keys or all_values_equal(complete):
        return ImportanceResult((), 0, None)
    tests = find_decisive_parameters(complete, varied_keys, level)
    raw_shares = pedanova_shares(tables, complete)
    total = math.fsum(raw_shares.get(parameter.key, 0.0) for parameter in tests.parameters)
    parameters = [
        ParameterImportance(p.key, raw_shares[p.key] / total, p.explained, p.shuffled)
        for p in tests.parameters
        if total > 0 and p.key in raw_shares
    ]
    parameters.sort(key=lambda parameter: -parameter.share)
    return ImportanceResult(tuple(parameters), len(varied_keys), tests.shuffled)


def pedanova_shares(
    tables: StudyTables, records: Sequence[TrialRecord] | None = None
) -> dict[str, float]:
    """Share of each parameter in reaching the best trials, largest first; shares add up to 1.

    For each parameter PED-ANOVA measures how far its distribution among the best trials differs
    from that among all trials (Pearson divergence); the shares are these numbers divided by their
    sum. Shares can be large by chance: `measure_importances` keeps the significant ones.

    Args:
        records: complete trials, best first; None: all of them. More than MAX_IMPORTANCE_TRIALS
            are sampled evenly by rank.

    Returns:
        {} with fewer than MIN_IMPORTANCE_TRIALS complete trials, or if no share is above 0.

    Source:
        PED-ANOVA: Watanabe et al. 2023, arXiv:2304.10255; conditional parameters: arXiv:2601.20800.
    """
    complete = sample_by_rank(ranked_records(tables) if records is None else records)
    # PED-ANOVA gives a share even to a parameter that never varied, from its smoothing alone.
    varied_keys = [key for key in tables.parameters if _varies(key, complete)]
    if len(complete) < MIN_IMPORTANCE_TRIALS or not varied_keys:
        return {}
    # The method needs about five trials among the best (Optuna's documentation). A tenth of a small
    # study has fewer; above one half "the best" would mean little.
    quantile = min(0.5, max(0.1, 5 / len(complete)))
    study = _in_memory_study(tables, complete)
    with warnings.catch_warnings():
        # Optuna warns of small branches and of normalize=False; both are handled here.
        warnings.simplefilter("ignore")
        raw_shares = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile),
            params=varied_keys,
            normalize=False,  # Optuna normalises "all zero" to equal shares, which would be wrong
        )
    total = math.fsum(raw_shares.values())
    return {key: share / total for key, share in raw_shares.items()} if total > 0 else {}


def all_values_equal(records: Sequence[TrialRecord]) -> bool:
    """True if all trials have the same value, so there is no variance to explain."""
    return len({record.value for record in records}) < 2


def sample_by_rank(complete: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
    """All trials, or MAX_IMPORTANCE_TRIALS of them spread evenly over the ranks."""
    n = len(complete)
    if n <= MAX_IMPORTANCE_TRIALS:
        return complete
    return [complete[i * n // MAX_IMPORTANCE_TRIALS] for i in range(MAX_IMPORTANCE_TRIALS)]


def space_branches(tables: StudyTables) -> list[SpaceBranch]:
    """One branch per value of each searched parameter that a condition of space.yaml refers to.

    [] if no parameter depends on another. Branches with too few trials are included.
    """
    declared = tables.space.get("parameters")
    declarations = declared.values() if isinstance(declared, dict) else ()
    conditions = [
        declaration.get("when") for declaration in declarations if isinstance(declaration, dict)
    ]
    condition_keys = {
        key for condition in conditions if isinstance(condition, dict) for key in condition
    }
    complete = ranked_records(tables)
    return [
        SpaceBranch(key, value, tuple(group))
        for key in tables.parameters
        if key in condition_keys
        for value, group in sorted(group_by_value(complete, key).items())
    ]


@lru_cache(maxsize=256)
def _parse_distribution(text: str) -> optuna.distributions.BaseDistribution:
    """Parse Optuna's JSON; cached, as the trials of a study share a few distributions."""
    return optuna.distributions.json_to_distribution(text)


def _varies(key: str, records: Sequence[TrialRecord]) -> bool:
    return len({json.dumps(record.params[key]) for record in records if key in record.params}) > 1


def _in_memory_study(tables: StudyTables, records: Sequence[TrialRecord]) -> optuna.Study:
    """In-memory Optuna study of these complete trials, built without a database."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # create_study logs a line to stderr
    try:
        study = optuna.create_study(direction=tables.config.objective.direction)
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials([_to_optuna_trial(tables, record) for record in records])
    return study


def _to_optuna_trial(tables: StudyTables, record: TrialRecord) -> optuna.trial.FrozenTrial:
    try:
        return optuna.trial.create_trial(
            value=record.value,
            params=dict(record.params),
            distributions={
                key: _parse_distribution(json.dumps(value))
                for key, value in record.distributions.items()
            },
        )
    except (KeyError, TypeError, ValueError) as error:
        path = tables.paths.trial(record.number).trial_json
        raise ConfigError(
            f"{path}: parameters do not match their distributions: {error}"
        ) from error
