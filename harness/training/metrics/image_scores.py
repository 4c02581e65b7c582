"""Scores of validation images: sums per image and class, and the metrics computed from them.

Without torch. A class counts for an image only if its truth contains the class. The value of a
class is the mean over those images, a metric is the mean over classes. Ignored pixels are in no
sum.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from harness.config.components import COMPONENT_NAME
from harness.config.data import StudyDataConfig
from harness.config.measurements import PRIMARY_METRICS
from harness.core import files
from harness.core.errors import DataError
from harness.core.text import count

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SCORE_COLUMNS = ("row", "image", "class", "sum_py", "sum_p", "sum_y", "tp", "fp", "fn", "tn")
BINARY_DATA = StudyDataConfig()
# In pixels. Bounds soft Dice for tiny objects, whose denominator is near 0. It is a part of the
# definition of val/dice_loss, so a change would make studies incomparable.
DICE_SMOOTHING = 1.0


@dataclass(frozen=True)
class ImageScores:
    """Sums behind every metric: one entry per validation image and class, all of length n.

    p is the probability of the class, y is 1 at its pixels in the truth, at eval_size. A pixel is
    decided to be of the class if p >= 0.5, in multiclass tasks if no other class is more probable.
    An image has an entry for every scored class, also for those that its truth does not contain.
    """

    row: Integers  # of split.csv
    image: tuple[str, ...]
    class_index: Integers  # of study.yaml's data.classes; two-class tasks: 1
    sum_py: Floats
    sum_p: Floats
    sum_y: Floats
    tp: Integers
    fp: Integers
    fn: Integers
    tn: Integers
    extra_columns: Mapping[str, Floats] = field(
        default_factory=dict
    )  # the user's; NaN: does not count

    def __len__(self) -> int:
        return len(self.row)

    @property
    def has_truth(self) -> NDArray[np.bool_]:
        """True for entries whose truth contains the class; the others are in no mean."""
        return np.asarray(self.sum_y > 0)


def metrics_per_entry(scores: ImageScores) -> dict[str, Floats]:
    """Compute each metric of each entry, in [0, 1]: dice_loss, dice, iou, precision, ...

    NaN if the truth does not contain the class. The precision of an object of which no pixel was
    found is 0.
    """
    soft_dice = (2 * scores.sum_py + DICE_SMOOTHING) / (
        scores.sum_p + scores.sum_y + DICE_SMOOTHING
    )
    columns = {"dice_loss": 1.0 - soft_dice}
    columns |= {name: _ratio(*parts) for name, parts in pooled_ratios(scores).items()}
    return {name: np.where(scores.has_truth, value, np.nan) for name, value in columns.items()}


def pooled_ratios(scores: ImageScores) -> dict[str, tuple[Floats, Floats]]:
    """Numerator and denominator of each metric of pixel counts, for each entry.

    Pooled over entries, a metric is the sum of numerators over the sum of denominators, 0 if both
    are 0.
    """
    tp, fp, fn, tn = (part.astype(np.float64) for part in _confusion_counts(scores))
    return {
        "dice": (2 * tp, 2 * tp + fp + fn),
        "iou": (tp, tp + fp + fn),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
        "accuracy": (tp + tn, tp + fp + fn + tn),
    }


def summarise_scores(scores: ImageScores, data: StudyDataConfig = BINARY_DATA) -> dict[str, float]:
    """Compute the metrics of a whole validation split, keys `val/…`.

    `…_micro` pool the pixels of all images that contain the class. `val/false_alarm_share` is the
    share of images without foreground in which any pixel was decided to be foreground; it exists
    only if there are such images, the others only if there are images with foreground. Multiclass
    and multilabel tasks also have `val/dice/<class>` and `val/iou/<class>` of each class that any
    truth contains, multiclass tasks `val/miou`. A user-defined metric is the mean over classes of
    the means over the images that count for it.
    """
    metrics: dict[str, float] = {}
    if scores.has_truth.any():
        classes = {
            int(index): (scores.class_index == index) & scores.has_truth
            for index in np.unique(scores.class_index[scores.has_truth])
        }
        columns = metrics_per_entry(scores)
        values = {
            # Images first, then classes: a class in few images weighs as much as one in all.
            name: {index: float(column[mask].mean()) for index, mask in classes.items()}
            for name, column in columns.items()
        }
        metrics |= {
            f"val/{name}": _mean(list(by_class.values())) for name, by_class in values.items()
        }
        pooled = [_pooled_metrics(scores, mask) for mask in classes.values()]
        for name in pooled[0]:
            metrics[f"val/{name}_micro"] = _mean([of_class[name] for of_class in pooled])
        if data.task == "multiclass":
            metrics["val/miou"] = _miou(scores)
        if data.task != "binary":
            for name in PRIMARY_METRICS:
                for index, value in values[name].items():
                    metrics[f"val/{name}/{data.classes[index]}"] = value
    metrics |= _summarise_custom_metrics(scores)
    false_alarms = _false_alarms(scores)
    if false_alarms.size:
        metrics["val/false_alarm_share"] = float(false_alarms.mean())
    return metrics


def write_scores(path: Path, scores: ImageScores) -> None:
    """Write `scores.csv`; reading it returns the same float64 values.

    User-defined metrics have a column each, empty if an image does not count.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*SCORE_COLUMNS, *scores.extra_columns])
    columns = [column.tolist() for column in scores.extra_columns.values()]
    for entry, *custom_values in zip(scores_to_entries(scores), *columns, strict=True):
        cells = [*entry, *("" if math.isnan(value) else value for value in custom_values)]
        # repr is the shortest text that reads back as the same float64.
        writer.writerow([repr(cell) if isinstance(cell, float) else cell for cell in cells])
    files.write_text(path, text.getvalue())


def read_scores(path: Path) -> ImageScores:
    """Read a `scores.csv`. Raises DataError with the line if it is not valid."""
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.reader(handle)
        header = next(reader, [])
        names = header[len(SCORE_COLUMNS) :]
        if tuple(header[: len(SCORE_COLUMNS)]) != SCORE_COLUMNS or not all(
            map(COMPONENT_NAME.fullmatch, names)
        ):
            raise DataError(f"{path}:1: the columns must be {','.join(SCORE_COLUMNS)}")
        rows = list(_parse_rows(reader, path, len(names)))
    extra_columns = {
        name: [custom_values[k] for _, custom_values in rows] for k, name in enumerate(names)
    }
    return scores_from_entries([entry for entry, _ in rows], extra_columns)


ScoreEntry = tuple[int, str, int, float, float, float, int, int, int, int]


def scores_from_entries(
    entries: list[ScoreEntry], extra_columns: Mapping[str, Sequence[float]] = MappingProxyType({})
) -> ImageScores:
    """Make scores from tuples in the order of SCORE_COLUMNS, and columns of custom metrics."""
    columns = list(zip(*entries, strict=True)) if entries else [()] * len(SCORE_COLUMNS)
    sum_py, sum_p, sum_y = (np.array(column, np.float64) for column in columns[3:6])
    row, index, tp, fp, fn, tn = (np.array(columns[k], np.int64) for k in (0, 2, 6, 7, 8, 9))
    extra_arrays = {name: np.array(column, np.float64) for name, column in extra_columns.items()}
    return ImageScores(row, columns[1], index, sum_py, sum_p, sum_y, tp, fp, fn, tn, extra_arrays)


def scores_from_custom_rows(
    entries: list[ScoreEntry], rows: Sequence[Sequence[float]], names: Sequence[str]
) -> ImageScores:
    """Make scores from tuples, and the values of the custom metrics `names` of each of them."""
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return scores_from_entries(entries, dict(zip(names, columns, strict=True)))


def scores_to_entries(scores: ImageScores) -> list[ScoreEntry]:
    """Convert scores to plain tuples in the order of SCORE_COLUMNS."""
    columns = (scores.row, scores.class_index, scores.sum_py, scores.sum_p, scores.sum_y)
    row, index, sum_py, sum_p, sum_y = (column.tolist() for column in columns)
    tp, fp, fn, tn = (column.tolist() for column in _confusion_counts(scores))
    return list(zip(row, scores.image, index, sum_py, sum_p, sum_y, tp, fp, fn, tn, strict=True))


def _parse_rows(
    reader: Iterator[list[str]], path: Path, n_custom: int
) -> Iterator[tuple[ScoreEntry, list[float]]]:
    for number, cells in enumerate(reader, start=2):
        try:
            row, image, index, sum_py, sum_p, sum_y, tp, fp, fn, tn, *rest = cells
            custom_values = [math.nan if cell == "" else float(cell) for cell in rest]
            if len(custom_values) != n_custom or not all(map(_is_valid_cell, rest, custom_values)):
                raise ValueError(
                    f"{count(len(SCORE_COLUMNS) + n_custom, 'cell')} are needed, numbers or empty"
                )
            entry_key = int(row), image, int(index)
            sums = float(sum_py), float(sum_p), float(sum_y)
            counts = int(tp), int(fp), int(fn), int(tn)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not a row of scores: {error}") from None
        if not all(np.isfinite(sums)) or min(sums) < 0 or min(counts) < 0:
            raise DataError(f"{path}:{number}: sums and counts must be finite and not negative")
        yield (*entry_key, *sums, *counts), custom_values


def _is_valid_cell(text: str, value: float) -> bool:
    return text == "" or math.isfinite(value)


def _summarise_custom_metrics(scores: ImageScores) -> dict[str, float]:
    """Means of the user-defined metrics; one that counts in no image is left out."""
    metrics = {}
    for name, column in scores.extra_columns.items():
        is_counted = ~np.isnan(column)
        classes = np.unique(scores.class_index[is_counted])
        means = [float(column[is_counted & (scores.class_index == k)].mean()) for k in classes]
        if means:
            metrics[f"val/{name}"] = _mean(means)
    return metrics


def _confusion_counts(scores: ImageScores) -> tuple[Integers, Integers, Integers, Integers]:
    return scores.tp, scores.fp, scores.fn, scores.tn


def _pooled_metrics(scores: ImageScores, mask: NDArray[np.bool_]) -> dict[str, float]:
    """Metrics of the decisions over the pixels of all selected entries together."""
    sums = {
        name: (float(numerator[mask].sum()), float(denominator[mask].sum()))
        for name, (numerator, denominator) in pooled_ratios(scores).items()
    }
    return {
        name: numerator / denominator if denominator else 0.0
        for name, (numerator, denominator) in sums.items()
    }


def _miou(scores: ImageScores) -> float:
    """Mean over classes of tp / (tp + fp + fn), each summed over all images, in [0, 1].

    A class that is neither in a truth nor decided anywhere is left out; one that is decided
    although no truth contains it is 0.

    Source:
        torchmetrics 1.9, MulticlassJaccardIndex(average="macro", ignore_index=IGNORE_INDEX).
    """
    class_indices = scores.class_index
    tp, fp, fn, _ = (
        # Weighted bincount computes in float64: exact for integers up to 2^53 pixels.
        np.bincount(class_indices, part.astype(np.float64))
        for part in _confusion_counts(scores)
    )
    union = tp + fp + fn
    return float((tp[union > 0] / union[union > 0]).mean())


def _false_alarms(scores: ImageScores) -> NDArray[np.bool_]:
    """For each image without foreground: True if any pixel was decided to be foreground.

    Images without a valid pixel are left out.
    """
    rows, image_of_entry = np.unique(scores.row, return_inverse=True)
    has_object, has_false_positive, has_valid_pixels = (
        np.bincount(image_of_entry, counts, minlength=len(rows)) > 0
        for counts in (scores.has_truth, scores.fp, sum(_confusion_counts(scores)))
    )
    return np.asarray(has_false_positive[~has_object & has_valid_pixels], np.bool_)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; 0 if both are 0: no pixel was decided, so none was decided correctly."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
