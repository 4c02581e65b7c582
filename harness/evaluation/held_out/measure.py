"""Predict held-out images at their own sizes: score them, and search for the best threshold."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.config.decision_rule import ClassDecision, DecisionRule
from harness.config.progress import ProgressReporter
from harness.data.files.decide import decide_mask
from harness.data.files.image_io import LoadedPair
from harness.data.splits.split_file import SplitRow
from harness.evaluation.held_out.images import EvaluationImages
from harness.evaluation.held_out.ledger import TEST_SPLIT
from harness.evaluation.held_out.object_scores import object_columns
from harness.evaluation.held_out.scores import (
    DEFAULT_THRESHOLD,
    ClassPlane,
    cleaned_columns,
    collect_scores,
    extra_columns,
    iter_class_planes,
    make_entry,
)
from harness.training.metrics.image_scores import ImageScores, ScoreEntry, metrics_per_entry

if TYPE_CHECKING:
    from harness.training.metrics.native_size import NativePredictor

Floats = NDArray[np.float64]
# Images, with the indices of the networks that were not trained on them.
ImageGroup = tuple[tuple[int, ...], EvaluationImages]
# k / 100 is the float nearest to its two decimals; adding steps of 0.01 would accumulate errors.
THRESHOLDS: Final = tuple(k / 100 for k in range(5, 96))


_DECODE_BATCH = 8  # images decoded together: bounds the memory for images of full size


class ImageEvaluator:
    """Evaluate one network, or an ensemble of several, on images at their own sizes.

    Args:
        predictors: networks whose probabilities are averaged.
        data: meaning of the masks.
        tta: test-time augmentation: also average over four flips.
        progress: receives the progress of each pass.
    """

    def __init__(
        self,
        predictors: "Sequence[NativePredictor]",
        data: StudyDataConfig,
        *,
        tta: bool,
        progress: ProgressReporter,
    ) -> None:
        self._predictors, self._data = predictors, data
        self._tta, self._progress = tta, progress

    def predict_groups(
        self, groups: Sequence[ImageGroup], text: str
    ) -> Iterator[tuple[SplitRow, LoadedPair, NDArray[np.float32]]]:
        """Yield each image with its probabilities (K, H, W) at its own size.

        Args:
            groups: validation images, with the indices of the networks not trained on them.
            text: label of the progress bar.
        """
        total, n_done = sum(len(images.rows) for _, images in groups), 0
        bar = self._progress.bar(text)
        for indices, images in groups:
            predictors = [self._predictors[index] for index in indices]
            for rows, pairs in images.batches(_DECODE_BATCH):
                yield from zip(rows, pairs, self._predict(predictors, pairs), strict=True)
                n_done += len(rows)
                bar(n_done, total)

    def score_images(self, images: EvaluationImages, rule: DecisionRule | None) -> ImageScores:
        """One entry per image and scored class, at the image's own size.

        Args:
            rule: adds the counts at its thresholds and after its clean-up; None: neither. Objects
                are those that it decides, else those at 0.5 or by argmax.
        """
        decision_rule = _plain_rule(self._data) if rule is None else rule
        thresholds = None if rule is None else class_thresholds(rule, self._data)
        images_text = "test images" if images.name == TEST_SPLIT else f"images of {images.name}"
        bar = self._progress.bar(f"measuring on {len(images.rows)} {images_text}")
        entries: list[ScoreEntry] = []
        extra_rows: list[dict[str, float]] = []
        n_done = 0
        for rows, pairs in images.batches(_DECODE_BATCH):
            predictions = self._predict(self._predictors, pairs)
            for row, pair, p in zip(rows, pairs, predictions, strict=True):
                size = (int(pair.image.shape[0]), int(pair.image.shape[1]))
                planes = list(iter_class_planes(p, pair.mask, self._data))
                cleaned: Sequence[Mapping[str, float]] = [{}] * len(planes)
                if rule is not None and rule.cleans:
                    cleaned = cleaned_columns(p, pair.mask, rule, self._data)
                objects = object_columns(decide_mask(p, decision_rule), pair.mask, self._data)
                for plane, *columns in zip(planes, cleaned, objects, strict=True):
                    entries.append(make_entry(row.row, row.image, plane))
                    extra = extra_columns(plane, size, thresholds)
                    extra_rows.append({**extra, **columns[0], **columns[1]})
            n_done += len(rows)
            bar(n_done, len(images.rows))
        return collect_scores(entries, extra_rows)

    def render_examples(self, images: EvaluationImages, scores: ImageScores) -> dict[str, bytes]:
        """The worst, the median and the best image by Dice, with their predictions, as PNG."""
        from harness.training.metrics.native_size import render_decision_png  # noqa: PLC0415  # imports torch

        rows = {row.row: row for row in images.rows}
        pictures = {}
        for name, row in select_example_rows(scores).items():
            pairs = images.read([rows[row]])
            (p,) = self._predict(self._predictors, pairs)
            pictures[name] = render_decision_png(pairs[0].image, pairs[0].mask, p, self._data)
        return pictures

    def _predict(
        self, predictors: "Sequence[NativePredictor]", pairs: Sequence[LoadedPair]
    ) -> list[NDArray[np.float32]]:
        from harness.training.metrics.native_size import mean_probabilities  # noqa: PLC0415  # imports torch

        return mean_probabilities(predictors, [pair.image for pair in pairs], tta=self._tta)


def _plain_rule(data: StudyDataConfig) -> DecisionRule:
    """The rule without thresholds of its own and without clean-up."""
    return DecisionRule(task=data.task, classes=tuple(ClassDecision() for _ in data.scored_classes))


def class_thresholds(rule: DecisionRule, data: StudyDataConfig) -> dict[int, float] | None:
    """Threshold by index of the class; None in multiclass tasks, which use argmax."""
    thresholds = {
        index: entry.threshold
        for index, entry in zip(data.scored_classes, rule.classes, strict=True)
        if entry.threshold is not None
    }
    return thresholds or None


def select_example_rows(scores: ImageScores) -> dict[str, int]:
    """Rows of the worst, the median and the best image by its mean Dice over classes."""
    by_row: dict[int, list[float]] = {}
    dice = metrics_per_entry(scores)["dice"]
    for row, value, has_truth in zip(
        scores.row.tolist(), dice.tolist(), scores.has_truth, strict=True
    ):
        if has_truth:
            by_row.setdefault(row, []).append(value)
    # the row breaks ties, so that the same scores always give the same examples
    ranked = sorted(by_row, key=lambda row: (sum(by_row[row]) / len(by_row[row]), row))
    if not ranked:
        return {}
    return {"worst": ranked[0], "median": ranked[len(ranked) // 2], "best": ranked[-1]}


class ThresholdSearch:
    """Running search for the best threshold of each class over validation images.

    The best threshold has the largest mean Dice over the images whose truth contains the class,
    each at its own size. Ties go to the threshold nearest to 0.5, then to the lower one.
    """

    def __init__(self, classes: Iterable[int]) -> None:
        self._sums: dict[int, Floats] = {k: np.zeros(len(THRESHOLDS)) for k in classes}
        self._images: dict[int, int] = dict.fromkeys(self._sums, 0)

    def add(self, plane: ClassPlane) -> None:
        """Add one class of one image."""
        self.add_passed(plane.index, passed_thresholds(plane.p), plane.y)

    def add_passed(self, index: int, n_passed: NDArray[np.uint8], y: NDArray[np.bool_]) -> None:
        """Add one class of one image by the `passed_thresholds` of its counted pixels."""
        # An image without the class has no Dice, so it cannot favour a threshold.
        if y.any():
            self._sums[index] += _dice_by_passed(n_passed, y)
            self._images[index] += 1

    def best(self) -> dict[int, float]:
        """Best threshold by class; 0.5 for a class that no image contains."""
        return {
            index: _best_threshold(sums / self._images[index])
            if self._images[index]
            else DEFAULT_THRESHOLD
            for index, sums in self._sums.items()
        }


def dice_by_threshold(p: NDArray[np.float32], y: NDArray[np.bool_]) -> Floats:
    """Dice 2 tp / (2 tp + fp + fn) of the decisions p >= t for each t in THRESHOLDS.

    `y` must not be empty.
    """
    return _dice_by_passed(passed_thresholds(p), y)


def passed_thresholds(p: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Number of THRESHOLDS that each probability reaches, 0 to 91, in the shape of `p`.

    p >= THRESHOLDS[k] exactly if the number exceeds k, so a byte for each pixel keeps the decisions
    at all thresholds.
    """
    # NumPy compares fp32 with a Python float in fp32: the same rounding as in `p >= t`.
    # side="right" counts p == t as passed, as in `p >= t`.
    steps = np.array(THRESHOLDS, np.float32)
    return np.searchsorted(steps, p, side="right").astype(np.uint8)


def _dice_by_passed(n_passed: NDArray[np.uint8], y: NDArray[np.bool_]) -> Floats:
    # One histogram of "number of thresholds passed" and its reversed cumulative sum give the counts
    # for all 91 thresholds in one pass over the pixels.
    n_predicted, hits = (
        np.bincount(passed, minlength=len(THRESHOLDS) + 1)[::-1].cumsum()[::-1][1:]
        for passed in (n_passed, n_passed[y])
    )
    return np.asarray(2 * hits / (n_predicted + y.sum()), np.float64)


def _best_threshold(means: Floats) -> float:
    # Sums over images are exact to about 1e-12: means closer than that count as equal.
    near = [t for t, mean in zip(THRESHOLDS, means, strict=True) if mean >= means.max() - 1e-12]
    # Rounded, as 0.45 and 0.55 are equally far from 0.5 in decimals but not in floating point.
    return min(near, key=lambda t: (round(abs(t - DEFAULT_THRESHOLD), 2), t))
