"""From the sums of `scores.csv` to one value per image."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import compress

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.errors import UserError, nearest
from harness.evaluation.pairs import PairedTest, paired_test
from harness.evaluation.pseudo_values import difference_shares, pseudo_values
from harness.paths import TrialPaths
from harness.training.metrics import ImageScores, pooled_parts, read_scores
from harness.training.metrics import per_image as per_entry

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

OWN_METRICS = ("dice", "iou")


def per_image(scores: ImageScores, metric: str) -> "pd.Series[float]":
    """The value of each image that counts; the mean of these values is the reported metric.

    With one class a metric of single images has the image's own value. With several classes, and
    for metrics of pooled pixels, it is the image's share in the metric (`pseudo_values`), which
    may lie outside [0, 1].

    Args:
        scores: as `read_scores` gives them.
        metric: dice_loss, dice, iou, precision, recall, accuracy, these but the first with
            `_micro` behind them, miou, or a metric of the study's own; with or without `val/` or
            `best/` before it.

    Returns:
        Indexed by `image`, in order of row; images with nothing to find are left out.

    Raises:
        UserError: a metric that is no such mean.
    """
    name = _name(metric)
    images, above, below = _table(scores, name)
    index = pd.Index(images, dtype=object, name="image")
    return pd.Series(pseudo_values(above, below), index, np.float64, name)


def compare_images(a: ImageScores, b: ImageScores, metric: str, seed: int = 0) -> PairedTest:
    """`paired_test` of two networks, a - b, over the same images and the same classes of each.

    Raises:
        UserError: as `per_image`.
    """
    name = _name(metric)
    first, second = (_table(scores, name) for scores in _alike([a, b], name))
    place = {image: k for k, image in enumerate(second[0])}
    common = [(k, place[image]) for k, image in enumerate(first[0]) if image in place]
    mine, others = ([pair[side] for pair in common] for side in (0, 1))
    ours, theirs = (first[1][mine], first[2][mine]), (second[1][others], second[2][others])
    return paired_test(
        pseudo_values(*ours),
        pseudo_values(*theirs),
        seed,
        shares=difference_shares(ours, theirs),
    )


def per_image_of_all(each: Sequence[ImageScores], metric: str) -> "list[pd.Series[float]]":
    """`per_image` of several networks, each over the same images and the same classes of each.

    An image that some network has no value for, in a class, counts in that class for none. That
    happens where networks were validated on different images, and where a metric of the study's
    own counts by what was predicted.

    Raises:
        UserError: as `per_image`.
    """
    return [per_image(scores, metric) for scores in _alike(each, _name(metric))]


def only_images(scores: ImageScores, images: Collection[str]) -> ImageScores:
    """The scores of these images alone."""
    chosen = frozenset(images)
    return _only(scores, [image in chosen for image in scores.image])


def own_sizes(trial: TrialPaths) -> dict[str, float]:
    """Dice and IoU at the images' own sizes, at p >= 0.5; {} where nothing is known of them.

    The mean over images, and of several classes the mean over classes, as in validation.
    """
    if not trial.own_sizes_csv.exists():
        return {}
    scores = read_scores(trial.own_sizes_csv)
    values = {metric: per_image(scores, metric).to_numpy() for metric in OWN_METRICS}
    return {metric: float(np.mean(each)) for metric, each in values.items() if each.size}


def _name(metric: str) -> str:
    return metric.removeprefix("val/").removeprefix("best/")


def _alike(each: Sequence[ImageScores], name: str) -> list[ImageScores]:
    """The entries that count in all."""
    entries = [set(compress(_keys(scores), _parts(scores, name)[2].tolist())) for scores in each]
    if all(one == entries[0] for one in entries[1:]):
        return list(each)
    common = set.intersection(*entries)
    return [_only(scores, [key in common for key in _keys(scores)]) for scores in each]


def _table(scores: ImageScores, name: str) -> tuple[list[str], Floats, Floats]:
    """The images that count, in order of row; `above` and `below` of shape (images, classes)."""
    above, below, counts = _parts(scores, name)
    rows, row_of = np.unique(scores.row[counts], return_inverse=True)
    classes, class_of = np.unique(scores.class_index[counts], return_inverse=True)
    table = np.zeros((2, len(rows), len(classes)))
    np.add.at(table[0], (row_of, class_of), above[counts])
    np.add.at(table[1], (row_of, class_of), below[counts])
    used = (table[1] > 0).any(axis=1)
    images = np.empty(len(rows), dtype=object)
    images[row_of] = list(compress(scores.image, counts.tolist()))
    return images[used].tolist(), table[0, used], table[1, used]


def _parts(scores: ImageScores, name: str) -> tuple[Floats, Floats, Bools]:
    """What is above and below the line in each entry, and which entries count."""
    columns = {**per_entry(scores), **scores.others}
    pooled = {f"{key}_micro": parts for key, parts in pooled_parts(scores).items()}
    if name in columns:
        counts = np.isfinite(columns[name])
        return columns[name], counts.astype(np.float64), counts
    if name in pooled:
        above, below = pooled[name]
        return above, np.where(_never(scores, below), 1.0, below), scores.has_truth
    if name == "miou":
        above, below = pooled["iou_micro"]
        return above, below, np.ones(len(scores), np.bool_)
    raise UserError(
        f"{name}: is no mean over images and classes, so images cannot be compared by it"
        + nearest(name, [*columns, *pooled, "miou"])
    )


def _never(scores: ImageScores, below: Floats) -> Bools:
    """Entries of classes that are never decided: their precision is 0, and counts as such."""
    classes, class_of = np.unique(scores.class_index, return_inverse=True)
    sums = np.bincount(class_of, np.where(scores.has_truth, below, 0.0), len(classes))
    return np.asarray(sums[class_of] == 0)


def _keys(scores: ImageScores) -> list[tuple[str, int]]:
    """Image and class of each entry."""
    return list(zip(scores.image, scores.class_index.tolist(), strict=True))


def _only(scores: ImageScores, kept: Sequence[bool]) -> ImageScores:
    chosen = np.array(kept, np.bool_)
    arrays = ("row", "class_index", "sum_py", "sum_p", "sum_y", "tp", "fp", "fn", "tn")
    return replace(
        scores,
        image=tuple(compress(scores.image, kept)),
        others={name: column[chosen] for name, column in scores.others.items()},
        **{name: getattr(scores, name)[chosen] for name in arrays},
    )
