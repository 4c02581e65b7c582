"""From the sums of a look to what is reported: three meanings, strata, intervals over images.

Every number here is a mean over classes of ratios of sums over images, sum(above) / sum(below): for
a mean over images `above` is each image's value and `below` is 1 where the image counts, for pooled
pixels they are counts of pixels. So one bootstrap, over images, serves them all. Of several classes
it is one of pseudo-values, as resampling images would lose the classes that few images have.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.data_config import StudyDataConfig
from harness.evaluation.intervals import MIN_IMAGES, RESAMPLES, Interval, mean_interval
from harness.evaluation.pseudo_values import mean_of_ratios, pseudo_values
from harness.evaluation.sealed_ledger import Result
from harness.evaluation.sealed_scores import CHOSEN
from harness.training.metrics import ImageScores, per_image, pooled_parts

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
At = Literal["0.5", "chosen", "argmax"]

SIZES: Final = (0.0, 0.01, 0.05, 0.15, 1.0)  # shares of the pixels that count
SIZE_NAMES: Final = ("size below 1 %", "size 1-5 %", "size 5-15 %", "size above 15 %")
OBJECT_NAMES: Final = ("objects 1", "objects 2", "objects 3 or more")
METRICS: Final = ("dice", "iou", "precision", "recall")
IN_STRATA: Final = ("dice", "iou")
_AT_ONCE: Final = 10_000_000  # numbers that one step of the bootstrap holds


@dataclass(frozen=True)
class Table:
    """A look's scores as arrays (images, classes), in the order of the first appearance."""

    classes: tuple[int, ...]
    has: Bools  # the truth has the class
    share: Floats  # of the class among the pixels that count
    objects: Floats
    values: dict[tuple[str, str, str], tuple[Floats, Floats]]  # metric, meaning, at: above, below
    miou: tuple[Floats, Floats]


def results_of(scores: ImageScores, data: StudyDataConfig) -> list[Result]:
    """Every number of a look: over all images, of each class, and by stratum."""
    table = tabulate(scores, data)
    found = list(_overall(table))
    if data.task == "multiclass":
        found.append(_result(table.miou, "miou", "pixels", "argmax"))
    found += _false_alarms(scores, data)
    if len(table.classes) > 1:
        for column, index in enumerate(table.classes):
            only = np.zeros_like(table.has)
            only[:, column] = True
            of = data.classes[index]
            found += [replace_of(result, of) for result in _overall(table, only)]
    for name, chosen in strata(table).items():
        found += list(_overall(table, chosen, name))
    return found


def strata(table: Table) -> dict[str, Bools]:
    """Which (image, class) has an object of that size, and so many objects; limits as named."""
    sizes = np.digitize(table.share, SIZES[1:-1])  # 0.01 itself belongs to 1-5 %
    found = {name: table.has & (sizes == k) for k, name in enumerate(SIZE_NAMES)}
    numbers = np.minimum(table.objects, 3)
    return found | {
        name: table.has & (numbers == k) for k, name in enumerate(OBJECT_NAMES, start=1)
    }


def tabulate(scores: ImageScores, data: StudyDataConfig) -> Table:
    """The scores of a look as arrays."""
    classes = data.scored_classes
    shape = (len(scores) // len(classes), len(classes))
    at: At = "argmax" if data.task == "multiclass" else "0.5"
    decided: dict[At, ImageScores] = {at: scores}
    if CHOSEN[0] in scores.others:
        tp, fp, fn, tn = (scores.others[name].astype(np.int64) for name in CHOSEN)
        decided["chosen"] = replace(scores, tp=tp, fp=fp, fn=fn, tn=tn)
    has, counts = scores.has_truth, scores.has_truth.astype(np.float64)
    values: dict[tuple[str, str, str], tuple[Floats, Floats]] = {}
    for place, one in decided.items():
        columns, pooled = per_image(one), pooled_parts(one)
        for metric in METRICS:
            values[metric, "image", place] = np.where(has, columns[metric], 0.0), counts
        for metric in IN_STRATA:
            above, below = pooled[metric]
            values[metric, "pixels", place] = above * counts, below * counts
    for metric in IN_STRATA:
        column = scores.others[f"{metric}_256"]
        values[metric, "256", "256"] = np.where(has, column, 0.0), counts
    total = (scores.tp + scores.fp + scores.fn + scores.tn).astype(np.float64)
    share = np.divide(scores.sum_y, total, out=np.zeros_like(total), where=total > 0)
    union = (scores.tp + scores.fp + scores.fn).astype(np.float64)
    return Table(
        classes=classes,
        has=has.reshape(shape),
        share=share.reshape(shape),
        objects=scores.others["objects"].reshape(shape),
        values={k: (a.reshape(shape), b.reshape(shape)) for k, (a, b) in values.items()},
        miou=(scores.tp.astype(np.float64).reshape(shape), union.reshape(shape)),
    )


def ratio_interval(above: Floats, below: Floats, *, seed: int = 0) -> Interval | None:
    """The 95 % BCa bootstrap interval of `mean_of_ratios` over images.

    Returns:
        None where fewer than MIN_IMAGES images count. Of zero width where no resample differs.
    Source:
        Efron 1987; `scipy.stats.bootstrap`, as `harness.evaluation.intervals`.
    """
    kept, seen = (below > 0).any(axis=1), (below > 0).any(axis=0)
    above, below = above[kept][:, seen], below[kept][:, seen]
    value = mean_of_ratios(above, below)
    if len(above) < MIN_IMAGES or value is None:
        return None
    if above.shape[1] > 1:
        return mean_interval(pseudo_values(above, below), seed=seed)
    numbers, sizes = above[:, 0], below[:, 0]

    def statistic(index: NDArray[np.int64], axis: int = -1) -> Floats:
        return np.asarray(numbers[index].sum(axis=axis) / sizes[index].sum(axis=axis))

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # dealt with below
        found: Any = stats.bootstrap(
            (np.arange(len(numbers)),),
            statistic,
            n_resamples=RESAMPLES,
            batch=max(1, _AT_ONCE // numbers.size),
            rng=np.random.default_rng(seed),
            method="BCa",
        )
    low, high = map(float, found.confidence_interval)
    if not (np.isfinite(low) and np.isfinite(high)):
        low = high = value
    return Interval(value, low, high, len(numbers))


def _overall(table: Table, chosen: Bools | None = None, stratum: str = "") -> Iterator[Result]:
    for (metric, meaning, at), (above, below) in table.values.items():
        if stratum and metric not in IN_STRATA:
            continue
        if chosen is not None:
            above, below = above * chosen, below * chosen
        yield _result((above, below), metric, meaning, at, stratum=stratum)


def _result(
    sums: tuple[Floats, Floats], metric: str, meaning: Any, at: Any, *, stratum: str = ""
) -> Result:
    above, below = sums
    found = ratio_interval(above, below)
    return Result(
        metric=metric,
        meaning=meaning,
        at=at,
        stratum=stratum,
        value=mean_of_ratios(above, below),
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        n=int((below > 0).any(axis=1).sum()),
    )


def replace_of(result: Result, name: str) -> Result:
    """The same number as that of a class."""
    return result.model_copy(update={"of": name})


def _false_alarms(scores: ImageScores, data: StudyDataConfig) -> Iterator[Result]:
    """The share of images with nothing to find in which any pixel was decided to be something."""
    at: At = "argmax" if data.task == "multiclass" else "0.5"
    alarms: dict[At, Bools] = {at: scores.fp > 0}
    if CHOSEN[1] in scores.others:
        alarms["chosen"] = scores.others[CHOSEN[1]] > 0
    shape = (-1, len(data.scored_classes))
    total = (scores.tp + scores.fp + scores.fn + scores.tn).reshape(shape).sum(axis=1)
    empty = ~scores.has_truth.reshape(shape).any(axis=1) & (total > 0)
    if not empty.any():
        return
    for place, alarmed in alarms.items():
        above = (alarmed.reshape(shape).any(axis=1) & empty).astype(np.float64)[:, None]
        below = empty.astype(np.float64)[:, None]
        yield _result((above, below), "false_alarm_share", "image", place)
