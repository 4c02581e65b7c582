"""Compute the results of a held-out test: metrics, strata and intervals over images.

Every number is a mean over classes of ratios of sums over images, sum(above) / sum(below). For a
mean over images `above` is the image's value and `below` is 1 for each image that counts; for
pooled pixels both are pixel counts. One bootstrap over images therefore serves all of them. With
several classes it resamples pseudo-values: resampled images would often lose a rare class.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import scipy  # scipy.stats is imported at its first use
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.config.decision_rule import DecisionRule
from harness.config.measurements import PRIMARY_METRICS
from harness.evaluation.decision.step_effects import (
    StepEffect,
    compare_decisions,
    cumulative_rules,
    empty_dice,
)
from harness.evaluation.held_out.ledger import HeldOutResult
from harness.evaluation.held_out.scores import CHOSEN_COLUMNS, CLEANED_COLUMNS, step_columns
from harness.evaluation.statistics.intervals import (
    MIN_IMAGES,
    RESAMPLES,
    ConfidenceInterval,
    mean_interval,
)
from harness.evaluation.statistics.pseudo_values import mean_of_ratios, pseudo_values
from harness.training.metrics.image_scores import ImageScores, metrics_per_entry, pooled_ratios

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
DecisionName = Literal["0.5", "chosen", "argmax", "cleaned"]

SIZE_BOUNDS: Final = (0.0, 0.01, 0.05, 0.15, 1.0)  # shares of the pixels that are not ignored
SIZE_NAMES: Final = ("size below 1 %", "size 1-5 %", "size 5-15 %", "size above 15 %")
OBJECT_NAMES: Final = ("objects 1", "objects 2", "objects 3 or more")
METRICS: Final = ("dice", "iou", "precision", "recall")
_FURTHER_DECISIONS: Final[tuple[tuple[DecisionName, tuple[str, ...]], ...]] = (
    ("chosen", CHOSEN_COLUMNS),
    ("cleaned", CLEANED_COLUMNS),
)
_BATCH_NUMBERS: Final = 10_000_000  # numbers held by one step of the bootstrap: 80 MB


@dataclass(frozen=True)
class HeldOutScoreTable:
    """Scores of a test run as arrays (images, classes), in order of first appearance."""

    classes: tuple[int, ...]
    has_class: Bools  # the truth has the class
    share: Floats  # of the class among the pixels that count
    objects: Floats
    values: dict[tuple[str, str, str], tuple[Floats, Floats]]  # metric, meaning, at: above, below
    miou: dict[DecisionName, tuple[Floats, Floats]]  # empty unless the task is multiclass


def compute_results(scores: ImageScores, data: StudyDataConfig) -> list[HeldOutResult]:
    """All results of a test run: over all images, of each class, and by stratum."""
    table = tabulate_scores(scores, data)
    results = list(_iter_results(table))
    results += [_make_result(sums, "miou", "pixels", rule) for rule, sums in table.miou.items()]
    results += _false_alarm_results(scores, data)
    if len(table.classes) > 1:
        for column, index in enumerate(table.classes):
            class_mask = np.zeros_like(table.has_class)
            class_mask[:, column] = True
            class_name = data.classes[index]
            results += [
                with_class_name(result, class_name) for result in _iter_results(table, class_mask)
            ]
    for name, stratum_mask in strata_masks(table).items():
        results += list(_iter_results(table, stratum_mask, name))
    return results


def strata_masks(table: HeldOutScoreTable) -> dict[str, Bools]:
    """Masks (images, classes) of the strata by size of the truth and by number of objects."""
    sizes = np.digitize(table.share, SIZE_BOUNDS[1:-1])  # 0.01 itself belongs to 1-5 %
    masks = {name: table.has_class & (sizes == k) for k, name in enumerate(SIZE_NAMES)}
    numbers = np.minimum(table.objects, 3)  # "3 or more" is the last stratum
    return masks | {
        name: table.has_class & (numbers == k) for k, name in enumerate(OBJECT_NAMES, start=1)
    }


def tabulate_scores(scores: ImageScores, data: StudyDataConfig) -> HeldOutScoreTable:
    """Arrange the scores of a test run as arrays (images, classes)."""
    classes = data.scored_classes
    shape = (len(scores) // len(classes), len(classes))
    default_rule: DecisionName = "argmax" if data.task == "multiclass" else "0.5"
    scores_by_rule: dict[DecisionName, ImageScores] = {default_rule: scores}
    for rule, names in _FURTHER_DECISIONS:
        if names[0] in scores.extra_columns:
            scores_by_rule[rule] = _replace_counts(scores, names)
    has_class, counts = scores.has_truth, scores.has_truth.astype(np.float64)
    values: dict[tuple[str, str, str], tuple[Floats, Floats]] = {}
    for rule, rule_scores in scores_by_rule.items():
        columns, pooled = metrics_per_entry(rule_scores), pooled_ratios(rule_scores)
        for metric in METRICS:
            # 0 and not NaN where the class is absent: `below` is
            # 0 there, but NaN would survive any sum.
            values[metric, "image", rule] = np.where(has_class, columns[metric], 0.0), counts
        for metric in PRIMARY_METRICS:
            above, below = pooled[metric]
            values[metric, "pixels", rule] = above * counts, below * counts
    for metric in PRIMARY_METRICS:
        column = scores.extra_columns[f"{metric}_256"]
        values[metric, "256", "256"] = np.where(has_class, column, 0.0), counts
    total = (scores.tp + scores.fp + scores.fn + scores.tn).astype(np.float64)
    share = np.divide(scores.sum_y, total, out=np.zeros_like(total), where=total > 0)
    miou: dict[DecisionName, tuple[Floats, Floats]] = {}
    if data.task == "multiclass":
        for rule, rule_scores in scores_by_rule.items():
            union = rule_scores.tp + rule_scores.fp + rule_scores.fn
            tp = rule_scores.tp.astype(np.float64)
            miou[rule] = tp.reshape(shape), union.astype(np.float64).reshape(shape)
    return HeldOutScoreTable(
        classes=classes,
        has_class=has_class.reshape(shape),
        share=share.reshape(shape),
        objects=scores.extra_columns["objects"].reshape(shape),
        values={k: (a.reshape(shape), b.reshape(shape)) for k, (a, b) in values.items()},
        miou=miou,
    )


def measure_steps(
    scores: ImageScores, rule: DecisionRule, data: StudyDataConfig
) -> list[StepEffect]:
    """Effect of each clean-up step of a rule on the images of a test run, in order.

    In multiclass tasks, where a step moves pixels between classes, the values are means over
    classes; otherwise they are those of the class.
    """
    partial_rules = cumulative_rules(rule)
    if not partial_rules:
        return []
    shape = (-1, len(data.scored_classes))
    first = CHOSEN_COLUMNS if CHOSEN_COLUMNS[0] in scores.extra_columns else None
    names = [first, *(step_columns(number) for number in range(1, len(partial_rules)))]
    decisions = [_replace_counts(scores, columns) for columns in (*names, CLEANED_COLUMNS)]
    total = (scores.tp + scores.fp + scores.fn + scores.tn).reshape(shape).sum(axis=1)
    effects = []
    for (index, step, partial), *pair in zip(partial_rules, decisions, decisions[1:], strict=False):
        before, after = (_empty_dice_table(decision).reshape(shape) for decision in pair)
        column = slice(None) if data.task == "multiclass" else slice(index, index + 1)
        effect = compare_decisions(
            data.classes[data.scored_classes[index]],
            step,
            getattr(partial.classes[index], step),
            # An image whose pixels are all ignored shows nothing.
            before[total > 0, column].mean(axis=1),
            after[total > 0, column].mean(axis=1),
        )
        # Part of the rule, whatever the test images say: validation images chose it.
        effects += [] if effect is None else [effect.model_copy(update={"is_kept": True})]
    return effects


def _empty_dice_table(scores: ImageScores) -> Floats:
    return empty_dice(scores.tp + scores.fp, scores.tp, scores.tp + scores.fn)


def _replace_counts(scores: ImageScores, names: tuple[str, ...] | None) -> ImageScores:
    """The scores with the counts of these additional columns; None: unchanged."""
    if names is None:
        return scores
    # Additional columns are floats; counts of pixels are exact in them up to 2^53.
    tp, fp, fn, tn = (scores.extra_columns[name].astype(np.int64) for name in names)
    return replace(scores, tp=tp, fp=fp, fn=fn, tn=tn)


def ratio_interval(above: Floats, below: Floats, *, seed: int = 0) -> ConfidenceInterval | None:
    """95 % BCa bootstrap interval of `mean_of_ratios` over images.

    With one class, pairs (above_i, below_i) are resampled and the statistic is
    Σ above / Σ below; with several, the mean of the pseudo-values (`mean_interval`).

    Returns:
        None if fewer than MIN_IMAGES images count. Zero width if all resamples are equal.

    Source:
        Efron 1987, "Better bootstrap confidence intervals"; `scipy.stats.bootstrap`.
    """
    # An image that does not count must not be resampled in place of one that does,
    # nor help to reach MIN_IMAGES.
    used_images, used_classes = (below > 0).any(axis=1), (below > 0).any(axis=0)
    above, below = above[used_images][:, used_classes], below[used_images][:, used_classes]
    value = mean_of_ratios(above, below)
    if len(above) < MIN_IMAGES or value is None:
        return None
    if above.shape[1] > 1:
        return mean_interval(pseudo_values(above, below), seed=seed)
    numbers, sizes = above[:, 0], below[:, 0]

    def statistic(index: NDArray[np.int64], axis: int = -1) -> Floats:
        return np.asarray(numbers[index].sum(axis=axis) / sizes[index].sum(axis=axis))

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # If all resamples are equal, scipy warns and returns nan; both are handled below.
        warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)
        bootstrap: Any = scipy.stats.bootstrap(
            (np.arange(len(numbers)),),
            statistic,
            n_resamples=RESAMPLES,
            batch=max(1, _BATCH_NUMBERS // numbers.size),
            rng=np.random.default_rng(seed),
            method="BCa",
        )
    low, high = map(float, bootstrap.confidence_interval)
    # nan: all resamples are equal, as with a metric that is 1 in every image
    if not (np.isfinite(low) and np.isfinite(high)):
        low = high = value
    return ConfidenceInterval(value, low, high, len(numbers))


def _iter_results(
    table: HeldOutScoreTable, mask: Bools | None = None, stratum: str = ""
) -> Iterator[HeldOutResult]:
    for (metric, meaning, rule), (above, below) in table.values.items():
        if stratum and metric not in PRIMARY_METRICS:
            continue
        if mask is not None:
            above, below = above * mask, below * mask
        yield _make_result((above, below), metric, meaning, rule, stratum=stratum)


def _make_result(
    sums: tuple[Floats, Floats], metric: str, meaning: Any, rule: Any, *, stratum: str = ""
) -> HeldOutResult:
    above, below = sums
    interval = ratio_interval(above, below)
    return HeldOutResult(
        metric=metric,
        meaning=meaning,
        at=rule,
        stratum=stratum,
        value=mean_of_ratios(above, below),
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        n=int((below > 0).any(axis=1).sum()),
    )


def with_class_name(result: HeldOutResult, name: str) -> HeldOutResult:
    """The same result, labelled with the name of its class."""
    return result.model_copy(update={"of": name})


def _false_alarm_results(scores: ImageScores, data: StudyDataConfig) -> Iterator[HeldOutResult]:
    """Share of images with an empty truth in which any pixel was predicted positive."""
    default_rule: DecisionName = "argmax" if data.task == "multiclass" else "0.5"
    alarms: dict[DecisionName, Bools] = {default_rule: scores.fp > 0}
    for rule, names in _FURTHER_DECISIONS:
        if names[1] in scores.extra_columns:
            alarms[rule] = scores.extra_columns[names[1]] > 0
    shape = (-1, len(data.scored_classes))
    total = (scores.tp + scores.fp + scores.fn + scores.tn).reshape(shape).sum(axis=1)
    # total is 0 where every pixel is ignored: such an image shows neither an alarm nor its absence.
    empty = ~scores.has_truth.reshape(shape).any(axis=1) & (total > 0)
    if not empty.any():
        return
    for rule, has_alarm in alarms.items():
        above = (has_alarm.reshape(shape).any(axis=1) & empty).astype(np.float64)[:, None]
        below = empty.astype(np.float64)[:, None]
        yield _make_result((above, below), "false_alarm_share", "image", rule)
