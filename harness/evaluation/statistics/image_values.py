"""Turn the sums of `scores.csv` into one value per image, and compare networks by them."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.config.measurements import PRIMARY_METRICS
from harness.core.errors import UserError, suggest_nearest
from harness.core.paths import TrialPaths
from harness.evaluation.statistics.paired_tests import PairedTest, paired_test
from harness.evaluation.statistics.pseudo_values import difference_shares, pseudo_values
from harness.training.metrics.image_scores import ImageScores, pooled_ratios, read_scores
from harness.training.metrics.image_scores import metrics_per_entry as per_entry

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def per_image_values(scores: ImageScores, metric: str) -> "pd.Series[float]":
    """Value of each image that counts; the mean of these values is the reported metric.

    With one class, a per-image metric is the image's own value. With several classes, and for
    metrics of pooled pixels, the value is the image's share in the metric
    (`pseudo_values.pseudo_values`), which may lie outside [0, 1].

    Args:
        scores: as returned by `read_scores`.
        metric: dice_loss, dice, iou, precision, recall, accuracy, each of these except the first
            with the suffix `_micro`, miou, or a user-defined metric; with or without the prefix
            `val/` or `best/`.

    Returns:
        Indexed by `image`, in order of row; images with an empty truth are left out.

    Raises:
        UserError: the metric is not such a mean.
    """
    import pandas as pd  # noqa: PLC0415  # 60 MB that prediction does not need

    name = _metric_name(metric)
    images, above, below = _image_sums(scores, name)
    index = pd.Index(images, dtype=object, name="image")
    return pd.Series(pseudo_values(above, below), index, np.float64, name)


def compare_images(a: ImageScores, b: ImageScores, metric: str, seed: int = 0) -> PairedTest:
    """`paired_test` of two networks, a - b, over the images and classes that count in both.

    Raises:
        UserError: as `per_image_values`.
    """
    name = _metric_name(metric)
    first, second = (_image_sums(scores, name) for scores in _restrict_to_common([a, b], name))
    second_index = {image: k for k, image in enumerate(second[0])}
    common = [(k, second_index[image]) for k, image in enumerate(first[0]) if image in second_index]
    first_rows, second_rows = ([pair[side] for pair in common] for side in (0, 1))
    first_sums, second_sums = (
        (first[1][first_rows], first[2][first_rows]),
        (second[1][second_rows], second[2][second_rows]),
    )
    # The signs of shares are flipped, not those of differences of pseudo-values, which found a
    # difference in 7 of 100 simulated equal pairs (docs/statistics.md).
    return paired_test(
        pseudo_values(*first_sums),
        pseudo_values(*second_sums),
        seed,
        shares=difference_shares(first_sums, second_sums),
    )


def per_image_values_of_all(
    score_sets: Sequence[ImageScores], metric: str
) -> "list[pd.Series[float]]":
    """`per_image_values` of several networks, all over the same images and classes.

    If one network has no value for an image in some class, the image is left out of that class
    for all networks. This happens if networks were validated on different images, and for a
    user-defined metric that is undefined for some predictions.

    Raises:
        UserError: as `per_image_values`.
    """
    return [
        per_image_values(scores, metric)
        for scores in _restrict_to_common(score_sets, _metric_name(metric))
    ]


def filter_images(scores: ImageScores, images: Collection[str]) -> ImageScores:
    """The scores of the given images only."""
    chosen = frozenset(images)
    return _filter_entries(scores, [image in chosen for image in scores.image])


def read_native_scores(trial: TrialPaths) -> dict[str, float]:
    """Dice and IoU at the images' own sizes, at p >= 0.5; {} if they were not measured.

    Averaged over images, and with several classes over classes, as in validation.
    """
    if not trial.native_size_csv.exists():
        return {}
    scores = read_scores(trial.native_size_csv)
    # Empty if no image has a truth: the mean of no values would be nan, with a RuntimeWarning.
    values = {metric: per_image_values(scores, metric).to_numpy() for metric in PRIMARY_METRICS}
    return {
        metric: float(np.mean(image_values))
        for metric, image_values in values.items()
        if image_values.size
    }


def _metric_name(metric: str) -> str:
    return metric.removeprefix("val/").removeprefix("best/")


def _restrict_to_common(score_sets: Sequence[ImageScores], name: str) -> list[ImageScores]:
    """The entries (image, class) that count for all networks."""
    entries = [
        set(compress(_entry_keys(scores), _entry_sums(scores, name)[2].tolist()))
        for scores in score_sets
    ]
    # the usual case, and without a copy of the arrays
    if all(entry_set == entries[0] for entry_set in entries[1:]):
        return list(score_sets)
    common = set.intersection(*entries)
    return [
        _filter_entries(scores, [key in common for key in _entry_keys(scores)])
        for scores in score_sets
    ]


def _image_sums(scores: ImageScores, name: str) -> tuple[list[str], Floats, Floats]:
    """Names of the images that count, in order of row; `above` and `below` (images, classes)."""
    above, below, counts = _entry_sums(scores, name)
    rows, row_of = np.unique(scores.row[counts], return_inverse=True)
    classes, class_of = np.unique(scores.class_index[counts], return_inverse=True)
    table = np.zeros((2, len(rows), len(classes)))
    np.add.at(table[0], (row_of, class_of), above[counts])
    np.add.at(table[1], (row_of, class_of), below[counts])
    # `pseudo_values` requires that each image counts for a class. With pooled pixels an image
    # without any counted pixel of a class, in truth or prediction, has a `below` of 0.
    is_used = (table[1] > 0).any(axis=1)
    images = np.empty(len(rows), dtype=object)
    images[row_of] = list(compress(scores.image, counts.tolist()))
    return images[is_used].tolist(), table[0, is_used], table[1, is_used]


def _entry_sums(scores: ImageScores, name: str) -> tuple[Floats, Floats, Bools]:
    """Numerator and denominator of each entry, and True for the entries that count."""
    columns = {**per_entry(scores), **scores.extra_columns}
    pooled = {f"{key}_micro": parts for key, parts in pooled_ratios(scores).items()}
    if name in columns:
        # NaN marks an entry that does not count: no truth,
        # or a user-defined metric that is undefined.
        counts = np.isfinite(columns[name])
        return columns[name], counts.astype(np.float64), counts
    if name in pooled:
        above, below = pooled[name]
        return above, np.where(_in_undecided_class(scores, below), 1.0, below), scores.has_truth
    if name == "miou":
        # Unlike the `_micro` metrics, mIoU counts images without the class
        # too: false positives there enlarge the union.
        above, below = pooled["iou_micro"]
        return above, below, np.ones(len(scores), np.bool_)
    raise UserError(
        f"{name}: not a mean over images and classes, so images cannot be compared by it"
        + suggest_nearest(name, [*columns, *pooled, "miou"])
    )


def _in_undecided_class(scores: ImageScores, below: Floats) -> Bools:
    """True for entries of classes that are never predicted.

    Their precision is 0/0; validation reports it as 0, so `below` becomes 1 there.
    """
    classes, class_of = np.unique(scores.class_index, return_inverse=True)
    sums = np.bincount(class_of, np.where(scores.has_truth, below, 0.0), len(classes))
    return np.asarray(sums[class_of] == 0)


def _entry_keys(scores: ImageScores) -> list[tuple[str, int]]:
    """Pair (image, class) of each entry."""
    return list(zip(scores.image, scores.class_index.tolist(), strict=True))


def _filter_entries(scores: ImageScores, is_selected: Sequence[bool]) -> ImageScores:
    mask = np.array(is_selected, np.bool_)
    arrays = ("row", "class_index", "sum_py", "sum_p", "sum_y", "tp", "fp", "fn", "tn")
    return replace(
        scores,
        image=tuple(compress(scores.image, is_selected)),
        extra_columns={name: column[mask] for name, column in scores.extra_columns.items()},
        **{name: getattr(scores, name)[mask] for name in arrays},
    )
