"""What one choice changes with everything else held equal, by regression over complete trials.

Trials of a search differ in everything at once. A linear model takes out what the other parameters
explain; where the trials cannot tell the choice from the others, it says so instead.
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

MIN_FREEDOM = 5  # trials beyond the coefficients that are estimated
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
    """What was found for one choice.

    Attributes:
        reference: the level that the others are compared with.
        n_reference: complete trials at it.
        effects: a difference for each other level that can be told from it.
        missing: the levels that cannot.
        reason: why nothing can be told at all; "" where something can.
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

    Least squares: one coefficient for each level but the reference; for each other parameter a line
    and a parabola over its axis (logarithmic where it was searched so), or one for each choice. A
    difference is given only where it is estimable, that is, where its contrast lies in the row
    space of the model (Searle 1971, "Linear Models", 5.4), and intervals are Student's.

    Args:
        level_of: the level of a trial; None leaves the trial out.
        reference: must be one of the levels.
        excluded_keys: keys of the parameters that make up the level, so that they are not
            adjusted for.
    """
    records = [record for record in ranked_records(tables) if level_of(record) is not None]
    levels = [str(level_of(record)) for record in records]
    others = sorted(set(levels) - {reference})
    if reference not in levels or not others:
        level_counts = ", ".join(
            f"{level} ({levels.count(level)})" for level in sorted(set(levels))
        )
        problem = (
            f"needs complete trials with {reference} and with something else; met: "
            f"{level_counts or '–'}"
        )
        return EffectTable(reference, levels.count(reference), (), tuple(others), problem)
    level_columns = [
        np.array([level == other_level for level in levels], np.float64) for other_level in others
    ]
    keys = [key for key in tables.parameters if key not in excluded_keys]
    columns = [column for key in keys for column in model_columns(key, records)]
    model = np.column_stack([np.ones(len(records)), *level_columns, *columns])
    freedom = len(records) - int(np.linalg.matrix_rank(model))
    if freedom < MIN_FREEDOM:
        problem = (
            f"{count(len(records), 'complete trial')} leave {freedom} beyond the coefficients of "
            f"the model; {MIN_FREEDOM} are needed"
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
    reason = "" if estimable else "the other parameters cannot be told from it in these trials"
    return EffectTable(reference, levels.count(reference), tuple(estimable), tuple(missing), reason)


def effect_verdict(effect: LevelEffect, *, minimized: bool) -> str:
    """`better`, `worse` or `no difference shown`, of the reference against the level."""
    if effect.low <= 0 <= effect.high:
        return "no difference shown"
    return "better" if (effect.difference < 0) == minimized else "worse"


def describe_effects(table: EffectTable, *, minimized: bool) -> str:
    """Each difference with its verdict and interval, in one line."""
    return "; ".join(
        f"against {effect.level} {effect_verdict(effect, minimized=minimized)} "
        f"({effect.difference:+.4f}, 95 % interval {effect.low:+.4f} to {effect.high:+.4f})"
        for effect in table.effects
    )


def effect_remarks(table: EffectTable) -> list[str]:
    """How the differences were found, and what could not be."""
    lines = [
        "From a regression over complete trials on every other searched parameter; pruned trials "
        "are left out, so what was cut more looks better than it is."
    ]
    if table.missing:
        lines.append(f"Cannot be told from the other parameters: {', '.join(table.missing)}.")
    return lines


def _estimate_difference(
    model: Floats, values: Floats, index: int, freedom: int
) -> tuple[float, float, float] | None:
    """Minus the coefficient at `index` with its limits; None where it is not estimable."""
    contrast = np.zeros(model.shape[1])
    contrast[index] = -1.0
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
    """The part of the model that stands for one parameter; where it is not in force, zero."""
    axis = parameter_axis(key, records)
    if axis is None or not axis.varies:
        return []
    active_records = [record for record in records if key in record.params]
    inactive_column = (
        []
        if len(active_records) == len(records)
        else [np.array([key in r.params for r in records])]
    )
    if axis.scale == "choice":
        texts = [display_value(r.params[key]) if key in r.params else None for r in records]
        choice_columns = [
            np.array([text == choice for text in texts]) for choice in axis.choices[1:]
        ]
        return [np.asarray(column, np.float64) for column in (*choice_columns, *inactive_column)]
    positions = np.array(
        [axis.position(r.params[key]) if key in r.params else 0.0 for r in records]
    )
    return [
        np.asarray(column, np.float64) for column in (positions, positions**2, *inactive_column)
    ]
