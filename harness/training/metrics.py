"""From sums per image to the numbers that are reported. numpy only.

A class counts for an image only where its truth has it. A class's value is the mean over those
images, a metric the mean over classes. Pixels that are VOID in the truth are in no sum.
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

from harness import files
from harness.data_config import StudyDataConfig
from harness.errors import DataError
from harness.parts import NAME
from harness.wording import count

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

COLUMNS = ("row", "image", "class", "sum_py", "sum_p", "sum_y", "tp", "fp", "fn", "tn")
OF_CLASSES = ("dice", "iou")  # also reported for each class, where there are several
TWO_CLASSES = StudyDataConfig()
SMOOTH = 1.0  # of soft Dice: keeps tiny objects from a division by almost nothing


@dataclass(frozen=True)
class ImageScores:
    """The sums behind every metric: one entry per validation image and class, all of length n.

    p is the probability of the class, y whether the truth has it, at eval_size. Decided is where
    p >= 0.5, in multiclass tasks where no other class is more probable. An image has an entry of
    every scored class, also of those that its truth does not have.
    """

    row: Whole  # of split.csv
    image: tuple[str, ...]
    class_index: Whole  # of study.yaml's data.classes; two-class tasks: 1
    sum_py: Floats
    sum_p: Floats
    sum_y: Floats
    tp: Whole
    fp: Whole
    fn: Whole
    tn: Whole
    others: Mapping[str, Floats] = field(default_factory=dict)  # the user's; NaN: does not count

    def __len__(self) -> int:
        return len(self.row)

    @property
    def has_truth(self) -> NDArray[np.bool_]:
        """Where the truth has the class at all; the others stay out of all means."""
        return np.asarray(self.sum_y > 0)


def per_image(scores: ImageScores) -> dict[str, Floats]:
    """Each metric of each entry, in [0, 1], under the names dice_loss, dice, iou, precision, ...

    NaN where the truth does not have the class. An object of which nothing was found has
    precision 0.
    """
    soft = (2 * scores.sum_py + SMOOTH) / (scores.sum_p + scores.sum_y + SMOOTH)
    columns = {"dice_loss": 1.0 - soft}
    columns |= {name: _ratio(*parts) for name, parts in pooled_parts(scores).items()}
    return {name: np.where(scores.has_truth, value, np.nan) for name, value in columns.items()}


def pooled_parts(scores: ImageScores) -> dict[str, tuple[Floats, Floats]]:
    """What is above and below the line of each metric of pooled pixels, for each entry.

    The metric of a class is the sum of the first over the sum of the second, 0 where both are 0.
    """
    tp, fp, fn, tn = (part.astype(np.float64) for part in _counts(scores))
    return {
        "dice": (2 * tp, 2 * tp + fp + fn),
        "iou": (tp, tp + fp + fn),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
        "accuracy": (tp + tn, tp + fp + fn + tn),
    }


def summarise(scores: ImageScores, data: StudyDataConfig = TWO_CLASSES) -> dict[str, float]:
    """The metrics of a whole validation split, keys `val/…`.

    `…_micro` pool the pixels of all images that have the class. `val/false_alarm_share` is the
    share of images with nothing to find in which any pixel was decided to be something; it is
    there only if there are such images, the others only if there are images with something.
    Multiclass and multilabel tasks also have `val/dice/<class>` and `val/iou/<class>` of each class
    that any truth has, multiclass ones `val/miou`. A metric of the user's own is the mean over
    classes of the means over the images that count for it.
    """
    metrics: dict[str, float] = {}
    if scores.has_truth.any():
        classes = {
            int(index): (scores.class_index == index) & scores.has_truth
            for index in np.unique(scores.class_index[scores.has_truth])
        }
        columns = per_image(scores)
        values = {
            name: {index: float(column[chosen].mean()) for index, chosen in classes.items()}
            for name, column in columns.items()
        }
        metrics |= {f"val/{name}": _mean(list(each.values())) for name, each in values.items()}
        pooled = [_pooled(scores, chosen) for chosen in classes.values()]
        for name in pooled[0]:
            metrics[f"val/{name}_micro"] = _mean([of_class[name] for of_class in pooled])
        if data.task == "multiclass":
            metrics["val/miou"] = _miou(scores)
        if data.task != "binary":
            for name in OF_CLASSES:
                for index, value in values[name].items():
                    metrics[f"val/{name}/{data.classes[index]}"] = value
    metrics |= _of_others(scores)
    alarms = _false_alarms(scores)
    if alarms.size:
        metrics["val/false_alarm_share"] = float(alarms.mean())
    return metrics


def write_scores(path: Path, scores: ImageScores) -> None:
    """Write `scores.csv`; floats are written so that reading gives the same float64.

    Metrics of the user's own have a column each, empty where an image does not count.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *scores.others])
    columns = [column.tolist() for column in scores.others.values()]
    for entry, *more in zip(entries_of(scores), *columns, strict=True):
        cells = [*entry, *("" if math.isnan(value) else value for value in more)]
        writer.writerow([repr(cell) if isinstance(cell, float) else cell for cell in cells])
    files.write_text(path, text.getvalue())


def read_scores(path: Path) -> ImageScores:
    """Read a `scores.csv`. Raises DataError when it is not one, naming the line."""
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.reader(handle)
        header = next(reader, [])
        names = header[len(COLUMNS) :]
        if tuple(header[: len(COLUMNS)]) != COLUMNS or not all(map(NAME.fullmatch, names)):
            raise DataError(f"{path}:1: the columns must be {','.join(COLUMNS)}")
        rows = list(_parsed(reader, path, len(names)))
    others = {name: [more[k] for _, more in rows] for k, name in enumerate(names)}
    return from_entries([entry for entry, _ in rows], others)


Entry = tuple[int, str, int, float, float, float, int, int, int, int]


def from_entries(
    entries: list[Entry], others: Mapping[str, Sequence[float]] = MappingProxyType({})
) -> ImageScores:
    """Scores from tuples in the order of COLUMNS, and columns of the user's metrics."""
    columns = list(zip(*entries, strict=True)) if entries else [()] * len(COLUMNS)
    sum_py, sum_p, sum_y = (np.array(column, np.float64) for column in columns[3:6])
    row, index, tp, fp, fn, tn = (np.array(columns[k], np.int64) for k in (0, 2, 6, 7, 8, 9))
    more = {name: np.array(column, np.float64) for name, column in others.items()}
    return ImageScores(row, columns[1], index, sum_py, sum_p, sum_y, tp, fp, fn, tn, more)


def entries_of(scores: ImageScores) -> list[Entry]:
    """The scores as plain tuples in the order of COLUMNS."""
    columns = (scores.row, scores.class_index, scores.sum_py, scores.sum_p, scores.sum_y)
    row, index, sum_py, sum_p, sum_y = (column.tolist() for column in columns)
    tp, fp, fn, tn = (column.tolist() for column in _counts(scores))
    return list(zip(row, scores.image, index, sum_py, sum_p, sum_y, tp, fp, fn, tn, strict=True))


def _parsed(
    reader: Iterator[list[str]], path: Path, n_others: int
) -> Iterator[tuple[Entry, list[float]]]:
    for number, cells in enumerate(reader, start=2):
        try:
            row, image, index, sum_py, sum_p, sum_y, tp, fp, fn, tn, *rest = cells
            others = [math.nan if cell == "" else float(cell) for cell in rest]
            if len(others) != n_others or not all(map(_is_cell, rest, others)):
                raise ValueError(
                    f"{count(len(COLUMNS) + n_others, 'cell')} are needed, numbers or empty"
                )
            place = int(row), image, int(index)
            sums = float(sum_py), float(sum_p), float(sum_y)
            counts = int(tp), int(fp), int(fn), int(tn)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not a row of scores: {error}") from None
        if not all(np.isfinite(sums)) or min(sums) < 0 or min(counts) < 0:
            raise DataError(f"{path}:{number}: sums and counts must be finite and not negative")
        yield (*place, *sums, *counts), others


def _is_cell(text: str, value: float) -> bool:
    return text == "" or math.isfinite(value)


def _of_others(scores: ImageScores) -> dict[str, float]:
    """The user's metrics; one that counts in no image is left out."""
    found = {}
    for name, column in scores.others.items():
        counts = ~np.isnan(column)
        classes = np.unique(scores.class_index[counts])
        means = [float(column[counts & (scores.class_index == k)].mean()) for k in classes]
        if means:
            found[f"val/{name}"] = _mean(means)
    return found


def _counts(scores: ImageScores) -> tuple[Whole, Whole, Whole, Whole]:
    return scores.tp, scores.fp, scores.fn, scores.tn


def _pooled(scores: ImageScores, chosen: NDArray[np.bool_]) -> dict[str, float]:
    """Metrics of the decisions over the pixels of all chosen entries together."""
    sums = {
        name: (float(above[chosen].sum()), float(below[chosen].sum()))
        for name, (above, below) in pooled_parts(scores).items()
    }
    return {name: above / below if below else 0.0 for name, (above, below) in sums.items()}


def _miou(scores: ImageScores) -> float:
    """Mean over classes of tp / (tp + fp + fn), each summed over all images, in [0, 1].

    A class that is neither in a truth nor decided anywhere is left out; one that is decided
    although no truth has it is 0.

    Source:
        torchmetrics 1.9, MulticlassJaccardIndex(average="macro", ignore_index=VOID).
    """
    places = scores.class_index
    tp, fp, fn, _ = (np.bincount(places, part.astype(np.float64)) for part in _counts(scores))
    union = tp + fp + fn
    return float((tp[union > 0] / union[union > 0]).mean())


def _false_alarms(scores: ImageScores) -> NDArray[np.bool_]:
    """For each image in which no class is to be found: was anything decided to be there?

    An image of which no pixel counts is none of them.
    """
    rows, place = np.unique(scores.row, return_inverse=True)
    full, alarmed, seen = (
        np.bincount(place, what, minlength=len(rows)) > 0
        for what in (scores.has_truth, scores.fp, sum(_counts(scores)))
    )
    return np.asarray(alarmed[~full & seen], np.bool_)


def _ratio(above: Floats, below: Floats) -> Floats:
    """0 where both are 0: of an object of which nothing was found, nothing was right."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
