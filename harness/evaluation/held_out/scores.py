"""Score one prediction on one image at its own size: sums per class, NumPy only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.decision_rule import DecisionRule
from harness.data.files.decide import decide_mask
from harness.data.files.object_labels import object_areas
from harness.evaluation.decision.step_effects import cumulative_rules
from harness.training.metrics.image_scores import ImageScores, ScoreEntry, scores_from_entries

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]
DEFAULT_THRESHOLD = 0.5
MIN_OBJECT_PIXELS: Final = 5  # smaller objects count only if there is no larger one
EXTRA_COLUMNS: Final = ("height", "width", "objects", "dice_256", "iou_256")
CHOSEN_COLUMNS: Final = ("tp_chosen", "fp_chosen", "fn_chosen", "tn_chosen")
CLEANED_COLUMNS: Final = ("tp_cleaned", "fp_cleaned", "fn_cleaned", "tn_cleaned")


@dataclass(frozen=True)
class ClassPlane:
    """One scored class of one image, as flat arrays of the pixels that are not ignored.

    Attributes:
        index: index of the class.
        p: float32 probabilities.
        y: True where the truth has the class.
        predicted: True where the class is predicted: p >= 0.5, or argmax in multiclass tasks.
        n_objects: number of connected objects in the truth.
    """

    index: int
    p: NDArray[np.float32]
    y: Bools
    predicted: Bools
    n_objects: int


def iter_class_planes(
    p: NDArray[np.float32], mask: NDArray[np.uint8], data: StudyDataConfig
) -> Iterator[ClassPlane]:
    """Yield the scored classes of an image.

    Args:
        p: probabilities (K, H, W); K = 1 in two-class tasks.
        mask: (H, W) with IGNORE_INDEX, or (H, W, K) in multilabel tasks.
    """
    # Of equal probabilities NumPy's argmax takes the lowest class index.
    argmax_map = p.argmax(axis=0) if data.task == "multiclass" else None
    counts = counted_pixels(mask)
    for index in data.scored_classes:
        probabilities = p[0] if data.task == "binary" else p[index]
        y = class_pixels(mask, index)
        predicted = (
            probabilities >= DEFAULT_THRESHOLD if argmax_map is None else argmax_map == index
        )
        yield ClassPlane(
            index, probabilities[counts], y[counts], predicted[counts], count_truth_objects(y)
        )


def counted_pixels(mask: NDArray[np.uint8]) -> Bools:
    """True (H, W) for the pixels of a mask that are not ignored."""
    return np.ones(mask.shape[:2], np.bool_) if mask.ndim == 3 else mask != IGNORE_INDEX


def class_pixels(mask: NDArray[np.uint8], index: int) -> Bools:
    """True (H, W) for the pixels of a class in a mask (H, W), or (H, W, K) of multilabel tasks."""
    return np.asarray(mask[..., index] == 1 if mask.ndim == 3 else mask == index)


def count_truth_objects(y: Bools) -> int:
    """Number of connected objects (8 neighbours) of a truth (H, W), without specks.

    Masks that were saved as JPEG have isolated pixels far from any object.
    """
    return count_without_specks(object_areas(y))


def count_without_specks(areas: NDArray[np.int64]) -> int:
    """Number of objects with these areas, without specks."""
    # An image whose truth is only specks still has an object to find.
    large = int((areas >= MIN_OBJECT_PIXELS).sum())
    return large or len(areas)


def make_entry(row: int, image: str, plane: ClassPlane) -> ScoreEntry:
    """Values of the columns common to every scores.csv, at the image's own size."""
    # fp32 sums over millions of pixels lose digits; float64 sums are exact enough to compare
    p = plane.p.astype(np.float64)
    sums = float(p[plane.y].sum()), float(p.sum()), float(plane.y.sum())
    return (row, image, plane.index, *sums, *confusion_counts(plane.predicted, plane.y))


def extra_columns(
    plane: ClassPlane, size: tuple[int, int], thresholds: Mapping[int, float] | None
) -> dict[str, float]:
    """Additional columns of the scores.csv of a test run.

    Args:
        size: height and width of the image.
        thresholds: threshold by class; None in multiclass tasks, which have no `CHOSEN_COLUMNS`.
    """
    dice, iou = mean_over_thresholds(plane.p, plane.y)
    values = (float(size[0]), float(size[1]), float(plane.n_objects), dice, iou)
    columns = dict(zip(EXTRA_COLUMNS, values, strict=True))
    if thresholds is not None:
        counts = confusion_counts(plane.p >= thresholds[plane.index], plane.y)
        columns |= dict(zip(CHOSEN_COLUMNS, map(float, counts), strict=True))
    return columns


def cleaned_columns(
    p: NDArray[np.float32], mask: NDArray[np.uint8], rule: DecisionRule, data: StudyDataConfig
) -> list[dict[str, float]]:
    """Counts of the decisions after each clean-up step, for each scored class.

    `tp_step_1`, … of the rule up to its first step, and so on; `CLEANED_COLUMNS` of the whole rule.
    Empty dictionaries if the rule has no clean-up.
    """
    columns: list[dict[str, float]] = [{} for _ in data.scored_classes]
    counted = counted_pixels(mask)
    rules = [partial for *_, partial in cumulative_rules(rule)]
    for number, partial in enumerate(rules, start=1):
        names = CLEANED_COLUMNS if number == len(rules) else step_columns(number)
        decision = decide_mask(p, partial)
        for row, index in zip(columns, data.scored_classes, strict=True):
            planes = (class_pixels(map_, index)[counted] for map_ in (decision, mask))
            row |= dict(zip(names, map(float, confusion_counts(*planes)), strict=True))
    return columns


def step_columns(number: int) -> tuple[str, str, str, str]:
    """Names of the counts after clean-up step `number`, from 1; the last has `CLEANED_COLUMNS`."""
    return (f"tp_step_{number}", f"fp_step_{number}", f"fn_step_{number}", f"tn_step_{number}")


def collect_scores(
    entries: Sequence[ScoreEntry], extra_rows: Sequence[Mapping[str, float]]
) -> ImageScores:
    """Scores of all images and classes; the additional columns go into `extra_columns`."""
    names = list(extra_rows[0]) if extra_rows else []
    return scores_from_entries(
        list(entries), {name: [row[name] for row in extra_rows] for name in names}
    )


def mean_over_thresholds(p: NDArray[np.float32], y: Bools) -> tuple[float, float]:
    """Dice and IoU of one image, each the mean over the 256 thresholds of an 8-bit map.

    The map is first stretched to its full range: b = floor(255 (p - min) / (max - min) + 1/2) with
    the smallest and largest p, and b = 0 everywhere if p is constant. Let tp_t be the number of
    truth pixels with b >= t, n_t the number of pixels with b >= t and m the number of truth pixels.
    The results are the means over t = 0..255 of 2 tp_t / (n_t + m) and of
    tp_t / (n_t + m - tp_t); NaN if m is 0.

    Source:
        PraNet (Fan et al. 2020): MyTest.py writes the stretched map, and the evaluation averages
        over Thresholds = 1:-1/255:0.
    """
    n_true = int(y.sum())
    if not n_true:
        return float("nan"), float("nan")
    values = p.astype(np.float64)
    low, high = values.min(), values.max()
    span = high - low if high > low else 1.0
    # Halves go up, as in the formula above; np.round would take them to the even number.
    stretched = np.floor(255 * (values - low) / span + 0.5).astype(np.int64)
    return _means_of_counts(
        np.bincount(stretched, minlength=256), np.bincount(stretched[y], minlength=256)
    )


class StretchedCounts:
    """`mean_over_thresholds` of an image in bands, whose smallest and largest p come last.

    A histogram of 2^20 steps stands for the probabilities, so that each of the 256 thresholds is
    moved by at most 2^-21 in p.
    """

    _STEPS: Final = 1 << 20

    def __init__(self) -> None:
        self._counts = np.zeros((2, self._STEPS + 1), np.int64)  # all pixels, those of the truth
        self._low, self._high = 1.0, 0.0

    def add(self, p: NDArray[np.float32], y: Bools) -> None:
        """Add flat pixels of a band."""
        if not len(p):
            return
        steps = np.rint(p * np.float64(self._STEPS)).astype(np.int64)
        for counts, chosen in zip(self._counts, (steps, steps[y]), strict=True):
            counts += np.bincount(chosen, minlength=self._STEPS + 1)
        self._low = min(self._low, float(p.min()))
        self._high = max(self._high, float(p.max()))

    def means(self) -> tuple[float, float]:
        """Dice and IoU, as `mean_over_thresholds`."""
        if not self._counts[1].any():
            return float("nan"), float("nan")
        span = self._high - self._low if self._high > self._low else 1.0
        values = np.arange(self._STEPS + 1) / self._STEPS
        stretched = np.floor(255 * (values - self._low) / span + 0.5).clip(0, 255).astype(np.int64)
        sums = np.zeros((2, 256), np.int64)
        for of_kind, counts in zip(sums, self._counts, strict=True):
            np.add.at(of_kind, stretched, counts)
        return _means_of_counts(*sums)


def _means_of_counts(all_counts: Counts, true_counts: Counts) -> tuple[float, float]:
    """Dice and IoU from the numbers of pixels (256,) with each stretched value."""
    n_true = int(true_counts.sum())
    # Cumulative histograms give the counts of all 256 thresholds in one pass over the pixels.
    n_predicted, hits = _counts_at_or_above(all_counts), _counts_at_or_above(true_counts)
    # t = 0 predicts every pixel, so even a perfect map stays below 1: these numbers
    # compare only with others of the same protocol.
    dice = 2 * hits / (n_predicted + n_true)
    iou = hits / (n_predicted + n_true - hits)
    return float(dice.mean()), float(iou.mean())


def _counts_at_or_above(counts: NDArray[np.int64]) -> Floats:
    """Number of pixels at or above each of the 256 values."""
    return counts[::-1].cumsum()[::-1].astype(np.float64)


def confusion_counts(predicted: Bools, y: Bools) -> tuple[int, int, int, int]:
    """Counts tp, fp, fn, tn."""
    tp, n_predicted, n_true = int((predicted & y).sum()), int(predicted.sum()), int(y.sum())
    return tp, n_predicted - tp, n_true - tp, int(y.size) - n_predicted - n_true + tp
