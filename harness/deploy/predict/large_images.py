"""Prediction of TIFFs that are too large to be decoded entirely, by networks of tiles."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.data.files.decide import DecisionPlanes, decide_mask, without_cleanup
from harness.data.files.large_image import band_slices
from harness.data.files.resize import resize_image
from harness.data.windows.large_windows import LargeImageWindows
from harness.data.windows.window import Window
from harness.deploy.predict.rows import mean_confidence
from harness.deploy.predictor import Predictor

_OVERVIEW_SIDE: Final = 2048  # pixels of the longer side, the most that an overlay has


@dataclass(frozen=True)
class LargePrediction:
    """Result for a large image.

    Attributes:
        mask: as of a `Prediction`.
        mean_confidence: as by `mean_confidence` of `rows`.
        planes: (K, H, W), rint(65535 p); None unless they were asked for.
    """

    mask: NDArray[np.uint8]
    mean_confidence: float
    planes: NDArray[np.uint16] | None


def predict_large(
    predictor: Predictor, source: LargeImageWindows, *, keep_probabilities: bool
) -> LargePrediction:
    """Predict an image in bands. Its decisions are in memory, a byte for each pixel and plane.

    With clean-up, or if probabilities are kept, two bytes for each pixel and class are added.

    Raises:
        As `Predictor.iterate_bands`.
    """
    data, rule = predictor.deployment.context.config.data, predictor.deployment.rule.rule
    height, width, _ = source.shape(0)
    decisions, total = DecisionPlanes(rule, (height, width)), 0.0
    plain = without_cleanup(rule)
    planes: NDArray[np.uint16] | None = None
    if rule.cleans or keep_probabilities:
        planes = np.empty((data.n_outputs, height, width), np.uint16)
    for top, p in predictor.iterate_bands(source):
        decisions.add(top, p)
        total += p[0].size * mean_confidence(p, decide_mask(p, plain), data)
        if planes is not None:
            planes[:, top : top + p.shape[1]] = quantize(p)
    mask = decisions.mask()
    if planes is not None and rule.cleans:
        total += _changed_confidence(planes, decisions.mask(plain), mask, data)
    confidence = total / (height * width)
    return LargePrediction(mask, confidence, planes if keep_probabilities else None)


def quantize(p: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Probabilities of any shape as 16 bits: rint(65535 p)."""
    return np.rint(65535 * p).astype(np.uint16)


def _changed_confidence(
    planes: NDArray[np.uint16],
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    data: StudyDataConfig,
) -> float:
    """Change of the sum of confidences by a clean-up; 16 bits of p suffice for its pixels."""
    change = 0.0
    for rows in band_slices(len(after)):
        if not np.array_equal(before[rows], after[rows]):
            p = planes[:, rows].astype(np.float32) / np.float32(65535)
            first, second = (mean_confidence(p, mask[rows], data) for mask in (before, after))
            change += p[0].size * (second - first)
    return change


def read_overview(source: LargeImageWindows) -> NDArray[Any]:
    """The image, at most 2,048 px long, for an overlay; area averages, read in bands."""
    height, width, _ = source.shape(0)
    scale = min(1.0, _OVERVIEW_SIDE / max(height, width))
    n_rows, n_columns = max(1, round(height * scale)), max(1, round(width * scale))
    edges = np.linspace(0, height, n_rows + 1).round().astype(int).tolist()
    step = max(1, 256 * n_rows // height)
    parts = []
    for first in range(0, n_rows, step):
        last = min(first + step, n_rows)
        window = Window(edges[first], 0, edges[last] - edges[first], width)
        parts.append(resize_image(source.read_image(0, window), (last - first, n_columns)))
    return np.concatenate(parts)
