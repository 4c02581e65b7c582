"""How much each parameter tells about being among the best trials, overall and per branch.

Only parameters that are told from chance are named (`harness.report.decisive`).
"""

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import optuna

from harness.errors import ConfigError
from harness.records import TrialRecord
from harness.report.decisive import LEVEL, decisive
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import text_of

MIN_IMPORTANCE_TRIALS = 5
MOST_IMPORTANCE_TRIALS = 1000  # more are sampled: seconds for each thousand, and little to learn


@dataclass(frozen=True)
class Branch:
    """The complete trials in which a parameter that others depend on had one value, best first."""

    key: str
    value: str
    records: tuple[TrialRecord, ...]


@dataclass(frozen=True)
class Importance:
    """How much a parameter tells that is told from chance.

    Attributes:
        share: in reaching the best trials, by PED-ANOVA; those of all named parameters add up to 1.
        explained, shuffled: as in `Decisive`.
    """

    key: str
    share: float
    explained: float
    shuffled: float


@dataclass(frozen=True)
class Importances:
    """The parameters that are told from chance, and what chance reaches.

    Attributes:
        named: the largest share first.
        n_varied: parameters that vary among the trials; 0 where there are too few trials, or all
            have one value.
        shuffled: as in `Tests`.
    """

    named: tuple[Importance, ...]
    n_varied: int
    shuffled: float | None


def importances(
    tables: StudyTables, records: Sequence[TrialRecord] | None = None
) -> dict[str, float]:
    """The share of each parameter that is told from chance, largest first; they add up to 1.

    {} where none is; arguments as in `measured`.
    """
    return {one.key: one.share for one in measured(tables, records).named}


def measured(
    tables: StudyTables, records: Sequence[TrialRecord] | None = None, level: float = LEVEL
) -> Importances:
    """The parameters whose values explain more of the trials' order than shuffled values do.

    Args:
        records: complete trials, best first; None: all of them. Of more than
            MOST_IMPORTANCE_TRIALS an even sample by rank counts.
        level: as in `decisive`.
    """
    complete = sampled(ranked_records(tables) if records is None else records)
    varied = [key for key in tables.parameters if _varied(key, complete)]
    if len(complete) < MIN_IMPORTANCE_TRIALS or not varied or one_value(complete):
        return Importances((), 0, None)
    tests = decisive(complete, varied, level)
    every = shares(tables, complete)
    total = math.fsum(every.get(one.key, 0.0) for one in tests.found)
    named = [
        Importance(one.key, every[one.key] / total, one.explained, one.shuffled)
        for one in tests.found
        if total > 0 and one.key in every
    ]
    named.sort(key=lambda one: -one.share)
    return Importances(tuple(named), len(varied), tests.shuffled)


def shares(tables: StudyTables, records: Sequence[TrialRecord] | None = None) -> dict[str, float]:
    """The share of each parameter in reaching the best trials, largest first; shares add up to 1.

    Where nothing matters these are large as well: `measured` says which are told from chance.

    Args:
        records: complete trials, best first; None: all of them. Of more than
            MOST_IMPORTANCE_TRIALS an even sample by rank counts.

    Returns:
        {} with fewer than MIN_IMPORTANCE_TRIALS complete trials, and where nothing can be told.
    Source:
        PED-ANOVA: Watanabe et al. 2023, arXiv:2304.10255; conditional parameters: arXiv:2601.20800.
    """
    complete = sampled(ranked_records(tables) if records is None else records)
    # to a parameter that never varied the method still gives a share, from its smoothing alone
    varied = [key for key in tables.parameters if _varied(key, complete)]
    if len(complete) < MIN_IMPORTANCE_TRIALS or not varied:
        return {}
    # The method wants five trials among "the best" (Optuna's documentation); a tenth of a small
    # study has fewer, and above a half "the best" would mean little.
    quantile = min(0.5, max(0.1, 5 / len(complete)))
    study = _in_memory(tables, complete)
    with warnings.catch_warnings():
        # it warns of small branches and of its own normalize=False: both are dealt with here
        warnings.simplefilter("ignore")
        raw = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile),
            params=varied,
            normalize=False,  # Optuna turns "all zero" into equal shares, which says what is not so
        )
    total = math.fsum(raw.values())
    return {key: share / total for key, share in raw.items()} if total > 0 else {}


def one_value(records: Sequence[TrialRecord]) -> bool:
    """Whether no two trials differ in their value, so that nothing is to be explained."""
    return len({record.value for record in records}) < 2


def sampled(complete: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
    """All of them, or MOST_IMPORTANCE_TRIALS spread evenly over the ranks."""
    n = len(complete)
    if n <= MOST_IMPORTANCE_TRIALS:
        return complete
    return [complete[i * n // MOST_IMPORTANCE_TRIALS] for i in range(MOST_IMPORTANCE_TRIALS)]


def branches(tables: StudyTables) -> list[Branch]:
    """A branch for each value of each searched parameter that conditions of space.yaml name.

    [] where no parameter depends on another. Branches with too few trials are among them.
    """
    described = tables.space.get("parameters")
    every = described.values() if isinstance(described, dict) else ()
    conditions = [one.get("when") for one in every if isinstance(one, dict)]
    named = {key for condition in conditions if isinstance(condition, dict) for key in condition}
    complete = ranked_records(tables)
    found: list[Branch] = []
    for key in tables.parameters:
        if key in named:
            groups: dict[str, list[TrialRecord]] = {}
            for record in complete:
                if key in record.params:
                    groups.setdefault(text_of(record.params[key]), []).append(record)
            found += [Branch(key, value, tuple(some)) for value, some in sorted(groups.items())]
    return found


@lru_cache(maxsize=256)
def _distribution(text: str) -> optuna.distributions.BaseDistribution:
    """From Optuna's JSON; the trials of a study share a few."""
    return optuna.distributions.json_to_distribution(text)


def _varied(key: str, records: Sequence[TrialRecord]) -> bool:
    return len({json.dumps(record.params[key]) for record in records if key in record.params}) > 1


def _in_memory(tables: StudyTables, records: Sequence[TrialRecord]) -> optuna.Study:
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
                    key: _distribution(json.dumps(value))
                    for key, value in record.distributions.items()
                },
            )
        except (KeyError, TypeError, ValueError) as error:
            place = tables.paths.trial(record.number).trial_json
            raise ConfigError(f"{place}: parameters and distributions disagree: {error}") from error
        study.add_trial(trial)
    return study
