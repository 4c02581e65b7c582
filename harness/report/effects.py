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

from harness.records import TrialRecord
from harness.report.figures.axes import parameter_axis
from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import count, text_of

Floats = NDArray[np.float64]

MIN_FREEDOM = 5  # trials beyond the coefficients that are estimated
LEVEL = 0.95


@dataclass(frozen=True)
class Effect:
    """The objective at `reference` minus that at `level`, all else equal, with its interval."""

    level: str
    n: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Effects:
    """What was found for one choice.

    Attributes:
        reference: the level that the others are compared with.
        n_reference: complete trials at it.
        found: a difference for each other level that can be told from it.
        missing: the levels that cannot.
        reason: why nothing can be told at all; "" where something can.
    """

    reference: str
    n_reference: int
    found: tuple[Effect, ...]
    missing: tuple[str, ...]
    reason: str


def effects(
    tables: StudyTables,
    level_of: Callable[[TrialRecord], str | None],
    reference: str,
    apart: Collection[str],
) -> Effects:
    """Differences between levels of one choice, adjusted for every other searched parameter.

    Least squares: one coefficient for each level but the reference; for each other parameter a line
    and a parabola over its axis (logarithmic where it was searched so), or one for each choice. A
    difference is given only where it is estimable, that is, where its contrast lies in the row
    space of the model (Searle 1971, "Linear Models", 5.4), and intervals are Student's.

    Args:
        level_of: the level of a trial; None leaves the trial out.
        reference: must be one of the levels.
        apart: keys of the parameters that make up the level, so that they are not adjusted for.
    """
    records = [record for record in ranked_records(tables) if level_of(record) is not None]
    levels = [str(level_of(record)) for record in records]
    others = sorted(set(levels) - {reference})
    if reference not in levels or not others:
        met = ", ".join(f"{level} ({levels.count(level)})" for level in sorted(set(levels)))
        why = f"needs complete trials with {reference} and with something else; met: {met or '–'}"
        return Effects(reference, levels.count(reference), (), tuple(others), why)
    own = [np.array([level == other for level in levels], np.float64) for other in others]
    keys = [key for key in tables.parameters if key not in apart]
    columns = [column for key in keys for column in model_columns(key, records)]
    model = np.column_stack([np.ones(len(records)), *own, *columns])
    freedom = len(records) - int(np.linalg.matrix_rank(model))
    if freedom < MIN_FREEDOM:
        why = (
            f"{count(len(records), 'complete trial')} leave {freedom} beyond the coefficients of "
            f"the model; {MIN_FREEDOM} are needed"
        )
        return Effects(reference, levels.count(reference), (), tuple(others), why)
    values = np.array([record.value for record in records], np.float64)
    found, missing = [], []
    for place, level in enumerate(others, start=1):
        effect = _effect(model, values, place, freedom)
        if effect is None:
            missing.append(level)
        else:
            found.append(Effect(level, levels.count(level), *effect))
    reason = "" if found else "the other parameters cannot be told from it in these trials"
    return Effects(reference, levels.count(reference), tuple(found), tuple(missing), reason)


def verdict(effect: Effect, *, minimized: bool) -> str:
    """`better`, `worse` or `no difference shown`, of the reference against the level."""
    if effect.low <= 0 <= effect.high:
        return "no difference shown"
    return "better" if (effect.difference < 0) == minimized else "worse"


def in_words(found: Effects, *, minimized: bool) -> str:
    """Each difference with its verdict and interval, in one line."""
    return "; ".join(
        f"against {one.level} {verdict(one, minimized=minimized)} "
        f"({one.difference:+.4f}, 95 % interval {one.low:+.4f} to {one.high:+.4f})"
        for one in found.found
    )


def remarks(found: Effects) -> list[str]:
    """How the differences were found, and what could not be."""
    lines = [
        "From a regression over complete trials on every other searched parameter; pruned trials "
        "are left out, so what was cut more looks better than it is."
    ]
    if found.missing:
        lines.append(f"Cannot be told from the other parameters: {', '.join(found.missing)}.")
    return lines


def _effect(
    model: Floats, values: Floats, place: int, freedom: int
) -> tuple[float, float, float] | None:
    """Minus the coefficient at `place` with its limits; None where it is not estimable."""
    contrast = np.zeros(model.shape[1])
    contrast[place] = -1.0
    inverse = np.linalg.pinv(model)
    if not np.allclose(contrast @ inverse @ model, contrast, atol=1e-6):
        return None
    coefficients = inverse @ values
    residual = values - model @ coefficients
    variance = float(residual @ residual) / freedom
    difference = float(contrast @ coefficients)
    spread = math.sqrt(variance * float(np.sum((contrast @ inverse) ** 2)))
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * spread
    return difference, difference - reach, difference + reach


def model_columns(key: str, records: Sequence[TrialRecord]) -> list[Floats]:
    """The part of the model that stands for one parameter; where it is not in force, zero."""
    axis = parameter_axis(key, records)
    if axis is None or not axis.varies:
        return []
    inside = [record for record in records if key in record.params]
    absent = [] if len(inside) == len(records) else [np.array([key in r.params for r in records])]
    if axis.scale == "choice":
        texts = [text_of(r.params[key]) if key in r.params else None for r in records]
        some = [np.array([text == choice for text in texts]) for choice in axis.choices[1:]]
        return [np.asarray(column, np.float64) for column in (*some, *absent)]
    places = np.array([axis.position(r.params[key]) if key in r.params else 0.0 for r in records])
    return [np.asarray(column, np.float64) for column in (places, places**2, *absent)]
