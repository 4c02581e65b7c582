"""How much each parameter tells about being among the best trials, overall and per branch.

Only parameters that are told from chance are named (`harness.report.analysis.permutation_test`).
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
from harness.core.text import display_value
from harness.report.analysis.permutation_test import LEVEL, find_decisive_parameters
from harness.report.tables.study_tables import StudyTables, ranked_records

MIN_IMPORTANCE_TRIALS = 5
MAX_IMPORTANCE_TRIALS = 1000  # more are sampled: seconds for each thousand, and little to learn


@dataclass(frozen=True)
class SpaceBranch:
    """The complete trials in which a parameter that others depend on had one value, best first."""

    key: str
    value: str
    records: tuple[TrialRecord, ...]


@dataclass(frozen=True)
class ParameterImportance:
    """How much a parameter tells that is told from chance.

    Attributes:
        share: in reaching the best trials, by PED-ANOVA; those of all named parameters add up to 1.
        explained, shuffled: as in `DecisiveParameter`.
    """

    key: str
    share: float
    explained: float
    shuffled: float


@dataclass(frozen=True)
class ImportanceResult:
    """The parameters that are told from chance, and what chance reaches.

    Attributes:
        parameters: the largest share first.
        n_varied: parameters that vary among the trials; 0 where there are too few trials, or all
            have one value.
        shuffled: as in `PermutationTestResult`.
    """

    named: tuple[ParameterImportance, ...]
    n_varied: int
    shuffled: float | None


def importance_shares(
    tables: StudyTables, records: Sequence[TrialRecord] | None = None
) -> dict[str, float]:
    """The share of each parameter that is told from chance, largest first; they add up to 1.

    {} where none is; arguments as in `measure_importances`.
    """
    return {
        parameter.key: parameter.share for parameter in measure_importances(tables, records).named
    }


def measure_importances(
    tables: StudyTables, records: Sequence[TrialRecord] | None = None, level: float = LEVEL
) -> ImportanceResult:
    """The parameters whose values explain more of the trials' order than shuffled values do.

    Args:
        records: complete trials, best first; None: all of them. Of more than
            MOST_IMPORTANCE_TRIALS an even sample by rank counts.
        level: as in `decisive`.
    """
    complete = sample_by_rank(ranked_records(tables) if records is None else records)
    varied_keys = [key for key in tables.parameters if _varies(key, complete)]
    if len(complete) < MIN_IMPORTANCE_TRIALS or not varied_keys or all_values_equal(complete):
        return ImportanceResult((), 0, None)
    tests = find_decisive_parameters(complete, varied_keys, level)
    raw_shares = pedanova_shares(tables, complete)
    total = math.fsum(raw_shares.get(parameter.key, 0.0) for parameter in tests.parameters)
    parameters = [
        ParameterImportance(
            parameter.key,
            raw_shares[parameter.key] / total,
            parameter.explained,
            parameter.shuffled,
        )
        for parameter in tests.parameters
        if total > 0 and parameter.key in raw_shares
    ]
    parameters.sort(key=lambda parameter: -parameter.share)
    return ImportanceResult(tuple(parameters), len(varied_keys), tests.shuffled)


def pedanova_shares(
    tables: StudyTables, records: Sequence[TrialRecord] | None = None
) -> dict[str, float]:
    """The share of each parameter in reaching the best trials, largest first; shares add up to 1.

    Where nothing matters these are large as well: `measure_importances` says which are told from
    chance.

    Args:
        records: complete trials, best first; None: all of them. Of more than
            MOST_IMPORTANCE_TRIALS an even sample by rank counts.

    Returns:
        {} with fewer than MIN_IMPORTANCE_TRIALS complete trials, and where nothing can be told.
    Source:
        PED-ANOVA: Watanabe et al. 2023, arXiv:2304.10255; conditional parameters: arXiv:2601.20800.
    """
    complete = sample_by_rank(ranked_records(tables) if records is None else records)
    # to a parameter that never varied the method still gives a share, from its smoothing alone
    varied_keys = [key for key in tables.parameters if _varies(key, complete)]
    if len(complete) < MIN_IMPORTANCE_TRIALS or not varied_keys:
        return {}
    # The method wants five trials among "the best" (Optuna's documentation); a tenth of a small
    # study has fewer, and above a half "the best" would mean little.
    quantile = min(0.5, max(0.1, 5 / len(complete)))
    study = _in_memory_study(tables, complete)
    with warnings.catch_warnings():
        # it warns of small branches and of its own normalize=False: both are dealt with here
        warnings.simplefilter("ignore")
        raw_shares = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile),
            params=varied_keys,
            normalize=False,  # Optuna turns "all zero" into equal shares, which says what is not so
        )
    total = math.fsum(raw_shares.values())
    return {key: share / total for key, share in raw_shares.items()} if total > 0 else {}


def all_values_equal(records: Sequence[TrialRecord]) -> bool:
    """Whether no two trials differ in their value, so that nothing is to be explained."""
    return len({record.value for record in records}) < 2


def sample_by_rank(complete: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
    """All of them, or MOST_IMPORTANCE_TRIALS spread evenly over the ranks."""
    n = len(complete)
    if n <= MAX_IMPORTANCE_TRIALS:
        return complete
    return [complete[i * n // MAX_IMPORTANCE_TRIALS] for i in range(MAX_IMPORTANCE_TRIALS)]


def space_branches(tables: StudyTables) -> list[SpaceBranch]:
    """A branch for each value of each searched parameter that conditions of space.yaml name.

    [] where no parameter depends on another. Branches with too few trials are among them.
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
    result: list[SpaceBranch] = []
    for key in tables.parameters:
        if key in condition_keys:
            groups: dict[str, list[TrialRecord]] = {}
            for record in complete:
                if key in record.params:
                    groups.setdefault(display_value(record.params[key]), []).append(record)
            result += [
                SpaceBranch(key, value, tuple(group)) for value, group in sorted(groups.items())
            ]
    return result


@lru_cache(maxsize=256)
def _parse_distribution(text: str) -> optuna.distributions.BaseDistribution:
    """From Optuna's JSON; the trials of a study share a few."""
    return optuna.distributions.json_to_distribution(text)


def _varies(key: str, records: Sequence[TrialRecord]) -> bool:
    return len({json.dumps(record.params[key]) for record in records if key in record.params}) > 1


def _in_memory_study(tables: StudyTables, records: Sequence[TrialRecord]) -> optuna.Study:
    """An Optuna study with these complete trials, rebuilt without any database."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce the study on stderr
    try:
        study = optuna.create_study(direction=tables.config.objective.direction)
    finally:
        optuna.logging.set_verbosity(verbosity)
    for record in records:
        try:
            trial = optuna.trial.create_trial(
                value=record.value,
                params=dict(record.params),
                distributions={
                    key: _parse_distribution(json.dumps(value))
                    for key, value in record.distributions.items()
                },
            )
        except (KeyError, TypeError, ValueError) as error:
            path = tables.paths.trial(record.number).trial_json
            raise ConfigError(f"{path}: parameters and distributions disagree: {error}") from error
        study.add_trial(trial)
    return study
