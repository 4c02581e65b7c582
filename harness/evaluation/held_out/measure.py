"""Predict held-out images: choose thresholds on validation images, score test images."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.config.progress import ProgressReporter
from harness.core.text import count
from harness.data.files.image_io import LoadedPair
from harness.evaluation.held_out.images import EvaluationImages
from harness.evaluation.held_out.ledger import TEST_SPLIT
from harness.evaluation.held_out.scores import (
    DEFAULT_THRESHOLD,
    ClassPlane,
    collect_scores,
    extra_columns,
    iter_class_planes,
    make_entry,
)
from harness.training.metrics.image_scores import ImageScores, ScoreEntry, metrics_per_entry

if TYPE_CHECKING:
    from harness.training.metrics.native_size import NativePredictor

Floats = NDArray[np.float64]
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

    def choose_thresholds(
        self, groups: Sequence[tuple[tuple[int, ...], EvaluationImages]]
    ) -> dict[int, float]:
        """Best threshold of each class.

        Args:
            groups: validation images, with the indices of the networks not trained on them.
        """
        total, n_done = sum(len(images.rows) for _, images in groups), 0
        bar = self._progress.bar(f"choosing thresholds on {count(total, 'validation image')}")
        search = ThresholdSearch(self._data.scored_classes)
        for indices, images in groups:
            predictors = [self._predictors[index] for index in indices]
            for rows, pairs in images.batches(_DECODE_BATCH):
                for pair, p in zip(pairs, self._predict(predictors, pairs), strict=True):
                    for plane in iter_class_planes(p, pair.mask, self._data):
                        search.add(plane)
                n_done += len(rows)
                bar(n_done, total)
        return search.best()

    def score_images(
        self, images: EvaluationImages, thresholds: dict[int, float] | None
    ) -> ImageScores:
        """One entry per image and scored class, at the image's own size.

        Args:
            thresholds: threshold by class; None in multiclass tasks.
        """
        images_text = "test images" if images.name == TEST_SPLIT else f"images of {images.name}"
        bar = self._progress.bar(f"measuring on {len(images.rows)} {images_text}")
        entries: list[ScoreEntry] = []
        extra_rows: list[dict[str, float]] = []
        n_done = 0
        for rows, pairs in images.batches(_DECODE_BATCH):
            predictions = self._predict(self._predictors, pairs)
            for row, pair, p in zip(rows, pairs, predictions, strict=True):
                size = (int(pair.image.shape[0]), int(pair.image.shape[1]))
                for plane in iter_class_planes(p, pair.mask, self._data):
                    entries.append(make_entry(row.row, row.image, plane))
                    extra_rows.append(extra_columns(plane, size, thresholds))
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
        # An image without the class has no Dice, so it cannot favour a threshold.
        if plane.y.any():
            self._sums[plane.index] += dice_by_threshold(plane.p, plane.y)
            self._images[plane.index] += 1

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
    # NumPy compares fp32 with a Python float in fp32: the same rounding as in `p >= t`.
    steps = np.array(THRESHOLDS, np.float32)
    # side="right" counts p == t as passed, as in `p >= t`.
    n_passed = np.searchsorted(steps, p, side="right")
    # One histogram of "number of thresholds passed" and its reversed cumulative sum give the counts
    # for all 91 thresholds in one pass over the pixels.
    n_predicted, hits = (
        np.bincount(passed, minlength=len(steps) + 1)[::-1].cumsum()[::-1][1:]
        for passed in (n_passed, n_passed[y])
    )
    return np.asarray(2 * hits / (n_predicted + y.sum()), np.float64)


def _best_threshold(means: Floats) -> float:
    # Sums over images are exact to about 1e-12: means closer than that count as equal.
    near = [t for t, mean in zip(THRESHOLDS, means, strict=True) if mean >= means.max() - 1e-12]
    # Rounded, as 0.45 and 0.55 are equally far from 0.5 in decimals but not in floating point.
    return min(near, key=lambda t: (round(abs(t - DEFAULT_THRESHOLD), 2), t))
