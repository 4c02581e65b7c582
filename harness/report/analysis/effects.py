"""Effect of one choice with all other parameters held equal, by regression over complete trials.

Trials of a search differ in all parameters simultaneously. A linear model removes what the other
parameters explain; if the choice is confounded with them in these trials, no effect is given.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.core.records import TrialRecord
from harness.core.text import count, display_value
from harness.report.figures.axes import parameter_axis
from harness.report.tables.study_tables import StudyTables, ranked_records

Floats = NDArray[np.float64]

MIN_FREEDOM = 5  # residual degrees of freedom: trials minus estimated coefficients
LEVEL = 0.95


@dataclass(frozen=True)
class LevelEffect:
    """The objective at `reference` minus that at `level`, all else equal, with its interval."""

    level: str
    n: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class EffectTable:
    """Effects of the levels of one choice.

    Attributes:
        reference: level that the others are compared with.
        n_reference: number of complete trials at the reference.
        effects: one difference for each other level whose effect is estimable.
        missing: levels whose effect is not estimable.
        reason: reason why no effect is estimable; "" if one is.
    """

    reference: str
    n_reference: int
    effects: tuple[LevelEffect, ...]
    missing: tuple[str, ...]
    reason: str


def estimate_effects(
    tables: StudyTables,
    level_of: Callable[[TrialRecord], str | None],
    reference: str,
    excluded_keys: Collection[str],
) -> EffectTable:
    """Differences between levels of one choice, adjusted for every other searched parameter.

    Least squares y = X β + e with one coefficient per level except the reference; each other
    parameter contributes a linear and a quadratic term over its axis (logarithmic if it was
    searched so), or one coefficient per choice except the first. A difference cᵀβ is given only if
    it is estimable, that is, if the contrast c lies in the row space of X: cᵀ X⁺ X = cᵀ. Its
    interval is cᵀβ ± t s √(cᵀ (XᵀX)⁺ c), with Student's t at the residual degrees of freedom.

    Args:
        level_of: level of a trial; None leaves the trial out.
        reference: one of the levels.
        excluded_keys: keys of the parameters that define the level, which are not adjusted for.

    Source:
        Searle 1971, "Linear Models", section 5.4 (estimable functions).
    """
    records = [record for record in ranked_records(tables) if level_of(record) is not None]
    levels = [str(level_of(record)) for record in records]
    others = sorted(set(levels) - {reference})
    if reference not in levels or not others:
        level_counts = ", ".join(
            f"{level} ({levels.count(level)})" for level in sorted(set(levels))
        )
        problem = (
            f"needs complete trials with {reference} and with another value; the complete trials "
            f"have: {level_counts or '–'}"
        )
        return EffectTable(reference, levels.count(reference), (), tuple(others), problem)
    level_columns = [
        np.array([level == other_level for level in levels], np.float64) for other_level in others
    ]
    keys = [key for key in tables.parameters if key not in excluded_keys]
    columns = [column for key in keys for column in model_columns(key, records)]
    # The order matters: `_estimate_difference` finds the
    # column of level i at index i, after the constant.
    model = np.column_stack([np.ones(len(records)), *level_columns, *columns])
    # The rank, not the number of columns: conditional parameters make columns collinear.
    freedom = len(records) - int(np.linalg.matrix_rank(model))
    if freedom < MIN_FREEDOM:
        problem = (
            f"{count(len(records), 'complete trial')} leave {freedom} degrees of freedom beyond "
            f"the coefficients of the model; {MIN_FREEDOM} are needed"
        )
        return EffectTable(reference, levels.count(reference), (), tuple(others), problem)
    values = np.array([record.value for record in records], np.float64)
    estimable, missing = [], []
    for index, level in enumerate(others, start=1):
        effect = _estimate_difference(model, values, index, freedom)
        if effect is None:
            missing.append(level)
        else:
            estimable.append(LevelEffect(level, levels.count(level), *effect))
    reason = "" if estimable else "it is confounded with the other parameters in these trials"
    return EffectTable(reference, levels.count(reference), tuple(estimable), tuple(missing), reason)


def effect_verdict(effect: LevelEffect, *, minimized: bool) -> str:
    """Verdict of the reference against the level: `better`, `worse` or `no difference shown`."""
    if effect.low <= 0 <= effect.high:
        return "no difference shown"
    # The difference is the reference minus the level, so
    # below 0 the reference has the lower objective.
    return "better" if (effect.difference < 0) == minimized else "worse"


def describe_effects(table: EffectTable, *, minimized: bool) -> str:
    """Describe each difference with its verdict and interval, in one line."""
    return "; ".join(
        f"against {effect.level} {effect_verdict(effect, minimized=minimized)} "
        f"({effect.difference:+.4f}, 95 % interval {effect.low:+.4f} to {effect.high:+.4f})"
        for effect in table.effects
    )


def effect_remarks(table: EffectTable) -> list[str]:
    """Remarks on the method, and on levels without an estimable effect."""
    lines = [
        # Survivorship: the poor trials of a value are the ones that the pruner removes.
        "From a regression over complete trials on every other searched parameter; pruned trials "
        "are left out, so a value that was pruned more often appears better than it is."
    ]
    if table.missing:
        lines.append(f"Confounded with the other parameters: {', '.join(table.missing)}.")
    return lines


def _estimate_difference(
    model: Floats, values: Floats, index: int, freedom: int
) -> tuple[float, float, float] | None:
    """Minus the coefficient at `index` with its limits; None if it is not estimable."""
    contrast = np.zeros(model.shape[1])
    contrast[index] = -1.0
    # The pseudo-inverse always gives coefficients; only for estimable contrasts are they unique.
    inverse = np.linalg.pinv(model)
    if not np.allclose(contrast @ inverse @ model, contrast, atol=1e-6):
        return None
    coefficients = inverse @ values
    residual = values - model @ coefficients
    variance = float(residual @ residual) / freedom
    difference = float(contrast @ coefficients)
    standard_error = math.sqrt(variance * float(np.sum((contrast @ inverse) ** 2)))
    half_width = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * standard_error
    return difference, difference - half_width, difference + half_width


def model_columns(key: str, records: Sequence[TrialRecord]) -> list[Floats]:
    """Columns of the model for one parameter; they are 0 in trials without the parameter."""
    axis = parameter_axis(key, records)
    if axis is None or not axis.varies:
        return []
    is_active = [key in record.params for record in records]
    if axis.scale == "choice":
        texts = [display_value(r.params[key]) if key in r.params else None for r in records]
        # The first choice has no column (reference coding);
        # all of them would add up to the constant.
        columns = [np.array([text == choice for text in texts]) for choice in axis.choices[1:]]
    else:
        values = [axis.position(r.params[key]) if key in r.params else 0.0 for r in records]
        columns = [np.array(values), np.array(values) ** 2]
    if not all(is_active):
        columns.append(np.array(is_active))
    return [np.asarray(column, np.float64) for column in columns]
