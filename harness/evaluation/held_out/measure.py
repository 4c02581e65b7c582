"""Predict held-out images at their own sizes: score them, and search for the best threshold."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.config.decision_rule import DecisionRule
from harness.config.progress import ProgressReporter
from harness.data.files.decide import decide_mask
from harness.data.files.image_io import LoadedPair
from harness.data.splits.split_file import SplitRow
from harness.data.windows.large_pair import LargePair
from harness.evaluation.held_out.images import EvaluationImages
from harness.evaluation.held_out.large_scores import ScoredClass, plain_rule, score_large
from harness.evaluation.held_out.ledger import TEST_SPLIT
from harness.evaluation.held_out.object_scores import object_columns
from harness.evaluation.held_out.predicted_image import (
    PredictedImage,
    predict_large,
    predicted_whole,
    reduce_example,
)
from harness.evaluation.held_out.scores import (
    DEFAULT_THRESHOLD,
    ClassPlane,
    cleaned_columns,
    collect_scores,
    extra_columns,
    iter_class_planes,
    make_entry,
)
from harness.training.metrics.image_scores import ImageScores, metrics_per_entry

if TYPE_CHECKING:
    from harness.training.metrics.native_size import NativePredictor

Floats = NDArray[np.float64]
PassedCounts = NDArray[np.int64]  # (2, number of THRESHOLDS + 1)
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
    ) -> Iterator[tuple[SplitRow, PredictedImage]]:
        """Yield each image with its probabilities at its own size.

        Args:
            groups: validation images, with the indices of the networks not trained on them.
            text: label of the progress bar.
        """
        total, n_done = sum(len(images.rows) for _, images in groups), 0
        bar = self._progress.bar(text)
        for indices, images in groups:
            predictors = [self._predictors[index] for index in indices]
            for rows, contents in images.batches(_DECODE_BATCH):
                yield from zip(
                    rows, self._predict(predictors, contents, images.max_pixels), strict=True
                )
                n_done += len(rows)
                bar(n_done, total)

    def score_images(self, images: EvaluationImages, rule: DecisionRule | None) -> ImageScores:
        """One entry per image and scored class, at the image's own size.

        Args:
            rule: adds the counts at its thresholds and after its clean-up; None: neither. Objects
                are those that it decides, else those at 0.5 or by argmax.
        """
        thresholds = None if rule is None else class_thresholds(rule, self._data)
        images_text = "test images" if images.name == TEST_SPLIT else f"images of {images.name}"
        bar = self._progress.bar(f"measuring on {len(images.rows)} {images_text}")
        scored: list[ScoredClass] = []
        n_done = 0
        for rows, contents in images.batches(_DECODE_BATCH):
            predicted = self._predict(self._predictors, contents, images.max_pixels)
            for row, image in zip(rows, predicted, strict=True):
                if isinstance(contents, LargePair):
                    scored += score_large(
                        (row.row, row.image),
                        image,
                        contents.read_mask,
                        self._data,
                        rule,
                        thresholds,
                    )
                else:
                    scored += _score_whole(row, image, self._data, rule, thresholds)
            n_done += len(rows)
            bar(n_done, len(images.rows))
        return collect_scores([part.entry for part in scored], [part.extra for part in scored])

    def render_examples(self, images: EvaluationImages, scores: ImageScores) -> dict[str, bytes]:
        """The worst, the median and the best image by Dice, with their predictions, as PNG."""
        rows = {row.row: row for row in images.rows}
        chosen = select_example_rows(scores)
        drawn = {row: self._render(images, rows[row]) for row in dict.fromkeys(chosen.values())}
        return {name: drawn[row] for name, row in chosen.items()}

    def _render(self, images: EvaluationImages, row: SplitRow) -> bytes:
        from harness.training.metrics.native_size import (  # noqa: PLC0415  # imports torch
            draw_decision_png,
            render_decision_png,
        )

        with images.open_large(row) as large:
            if large is not None:
                (image,) = self._predict(self._predictors, large, images.max_pixels)
                return draw_decision_png(*reduce_example(image, large, self._data), self._data)
        pairs = images.read([row])
        (image,) = self._predict(self._predictors, pairs, images.max_pixels)
        ((_, p, mask),) = image.bands
        return render_decision_png(pairs[0].image, mask, p, self._data)

    def _predict(
        self,
        predictors: "Sequence[NativePredictor]",
        contents: list[LoadedPair] | LargePair,
        max_pixels: float,
    ) -> list[PredictedImage]:
        from harness.training.metrics.native_size import mean_probabilities  # noqa: PLC0415  # imports torch

        if isinstance(contents, LargePair):
            return [predict_large(predictors, contents, max_pixels, tta=self._tta)]
        images = [pair.image for pair in contents]
        planes = mean_probabilities(predictors, images, tta=self._tta)
        return [predicted_whole(p, pair.mask) for p, pair in zip(planes, contents, strict=True)]


def _score_whole(
    row: SplitRow,
    image: PredictedImage,
    data: StudyDataConfig,
    rule: DecisionRule | None,
    thresholds: Mapping[int, float] | None,
) -> list[ScoredClass]:
    """Score an image that is a single band."""
    ((_, p, mask),) = image.bands
    planes = list(iter_class_planes(p, mask, data))
    cleaned: Sequence[Mapping[str, float]] = [{}] * len(planes)
    if rule is not None and rule.cleans:
        cleaned = cleaned_columns(p, mask, rule, data)
    decision = decide_mask(p, plain_rule(data) if rule is None else rule)
    objects = object_columns(decision, mask, data)
    return [
        ScoredClass(
            make_entry(row.row, row.image, plane),
            {**extra_columns(plane, image.size, thresholds), **columns[0], **columns[1]},
        )
        for plane, *columns in zip(planes, cleaned, objects, strict=True)
    ]


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
        self.classes = tuple(self._sums)

    def add(self, plane: ClassPlane) -> None:
        """Add one class of one image."""
        self.add_counts(plane.index, count_passed(passed_thresholds(plane.p), plane.y))

    def add_counts(self, index: int, counts: PassedCounts) -> None:
        """Add one class of one image by `count_passed` of its counted pixels, or a sum of them."""
        # An image without the class has no Dice, so it cannot favour a threshold.
        if counts[1].any():
            self._sums[index] += _dice_by_passed(counts)
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
    return _dice_by_passed(count_passed(passed_thresholds(p), y))


def passed_thresholds(p: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Number of THRESHOLDS that each probability reaches, 0 to 91, in the shape of `p`.

    p >= THRESHOLDS[k] exactly if the number exceeds k, so a byte for each pixel keeps the decisions
    at all thresholds.
    """
    # NumPy compares fp32 with a Python float in fp32: the same rounding as in `p >= t`.
    # side="right" counts p == t as passed, as in `p >= t`.
    steps = np.array(THRESHOLDS, np.float32)
    return np.searchsorted(steps, p, side="right").astype(np.uint8)


def count_passed(n_passed: NDArray[np.uint8], y: NDArray[np.bool_]) -> PassedCounts:
    """Numbers of flat pixels by their `passed_thresholds`: of all, and of those of the truth."""
    length = len(THRESHOLDS) + 1
    return np.stack([np.bincount(part, minlength=length) for part in (n_passed, n_passed[y])])


def _dice_by_passed(counts: PassedCounts) -> Floats:
    # The reversed cumulative sums of the histograms give the counts for all 91 thresholds.
    n_predicted, hits = (part[::-1].cumsum()[::-1][1:] for part in counts)
    return np.asarray(2 * hits / (n_predicted + counts[1].sum()), np.float64)


def _best_threshold(means: Floats) -> float:
    # Sums over images are exact to about 1e-12: means closer than that count as equal.
    near = [t for t, mean in zip(THRESHOLDS, means, strict=True) if mean >= means.max() - 1e-12]
    # Rounded, as 0.45 and 0.55 are equally far from 0.5 in decimals but not in floating point.
    return min(near, key=lambda t: (round(abs(t - DEFAULT_THRESHOLD), 2), t))
