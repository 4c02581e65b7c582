"""Networks asked about images: the thresholds validation chooses, the scores of a look."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.data.pictures import LoadedPair
from harness.data_config import StudyDataConfig
from harness.evaluation.sealed_data import Images
from harness.evaluation.sealed_ledger import OWN
from harness.evaluation.sealed_scores import collect, entry, extras, planes
from harness.evaluation.sealed_threshold import ThresholdSearch
from harness.search.progress import Progress
from harness.training.metrics import Entry, ImageScores, per_image
from harness.wording import count

if TYPE_CHECKING:
    from harness.training.native import NativePredictor

_AT_ONCE = 8  # images that are decoded together


class Measure:
    """Asks networks about images, and counts.

    Args:
        predictors: whose probabilities are averaged.
        data: what masks mean.
        tta: average over four flips too.
        progress: who is told.
    """

    def __init__(
        self,
        predictors: "Sequence[NativePredictor]",
        data: StudyDataConfig,
        *,
        tta: bool,
        progress: Progress,
    ) -> None:
        self._predictors, self._data = predictors, data
        self._tta, self._progress = tta, progress

    def thresholds(self, groups: Sequence[tuple[tuple[int, ...], Images]]) -> dict[int, float]:
        """The best threshold of each class.

        Args:
            groups: validation images, with the places of the networks not trained on them.
        """
        total, done = sum(len(images.rows) for _, images in groups), 0
        bar = self._progress.bar(f"choosing thresholds on {count(total, 'validation image')}")
        search = ThresholdSearch(self._data.scored_classes)
        for places, images in groups:
            chosen = [self._predictors[place] for place in places]
            for rows, pairs in images.batches(_AT_ONCE):
                for pair, p in zip(pairs, self._asked(chosen, pairs), strict=True):
                    for plane in planes(p, pair.mask, self._data):
                        search.add(plane)
                done += len(rows)
                bar(done, total)
        return search.best()

    def scores(self, images: Images, thresholds: dict[int, float] | None) -> ImageScores:
        """One entry for each image and scored class, at the image's own size.

        Args:
            thresholds: by class; None in multiclass tasks.
        """
        what = "test images" if images.name == OWN else f"images of {images.name}"
        bar = self._progress.bar(f"measuring on {len(images.rows)} {what}")
        entries: list[Entry] = []
        more: list[dict[str, float]] = []
        done = 0
        for rows, pairs in images.batches(_AT_ONCE):
            answers = self._asked(self._predictors, pairs)
            for row, pair, p in zip(rows, pairs, answers, strict=True):
                size = (int(pair.image.shape[0]), int(pair.image.shape[1]))
                for plane in planes(p, pair.mask, self._data):
                    entries.append(entry(row.row, row.image, plane))
                    more.append(extras(plane, size, thresholds))
            done += len(rows)
            bar(done, len(images.rows))
        return collect(entries, more)

    def examples(self, images: Images, scores: ImageScores) -> dict[str, bytes]:
        """The worst, the median and the best image by Dice, with what was decided, as PNG."""
        from harness.training.native import picture  # noqa: PLC0415  # brings torch

        rows = {row.row: row for row in images.rows}
        drawn = {}
        for name, row in example_rows(scores).items():
            pairs = images.read([rows[row]])
            (p,) = self._asked(self._predictors, pairs)
            drawn[name] = picture(pairs[0].image, pairs[0].mask, p, self._data)
        return drawn

    def _asked(
        self, predictors: "Sequence[NativePredictor]", pairs: Sequence[LoadedPair]
    ) -> list[NDArray[np.float32]]:
        from harness.training.native import mean_probabilities  # noqa: PLC0415  # brings torch

        return mean_probabilities(predictors, [pair.image for pair in pairs], tta=self._tta)


def example_rows(scores: ImageScores) -> dict[str, int]:
    """Rows of the worst, the median and the best image by its mean Dice over classes."""
    by_row: dict[int, list[float]] = {}
    dice = per_image(scores)["dice"]
    for row, value, has in zip(scores.row.tolist(), dice.tolist(), scores.has_truth, strict=True):
        if has:
            by_row.setdefault(row, []).append(value)
    ranked = sorted(by_row, key=lambda row: (sum(by_row[row]) / len(by_row[row]), row))
    if not ranked:
        return {}
    return {"worst": ranked[0], "median": ranked[len(ranked) // 2], "best": ranked[-1]}
