"""Validation of a network: one pass over images, and the sums behind every metric."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.config.component_interface import Component
from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.data.loading.image_cache import ImageCache
from harness.training.hardware.device_sync import timed_forward
from harness.training.hardware.normalizer import ImageNormalizer, to_device
from harness.training.loop.errors import DivergedError, TrainingInterruptedError
from harness.training.loss.task_checks import may_have_ignored_pixels
from harness.training.metrics.custom_metrics import compute_custom_metrics
from harness.training.metrics.image_scores import (
    ImageScores,
    ScoreEntry,
    scores_from_custom_rows,
)

THRESHOLD = 0.5
_MAX_PROBABILITIES = 2**27  # at eval_size, in memory simultaneously: 512 MB of floats


@dataclass(frozen=True)
class ValidationResult:
    """Result of one pass over the validation images.

    Attributes:
        scores: one entry per image and scored class.
        probabilities: by row of split.csv, for the images of `keep_indices`: uint8, rint(255 p), so
            that p >= 0.5 is value >= 128; two-class (E, E), others (K, E, E).
        ms_per_image: median over batches of the network's time for one image, in milliseconds.
        decisions: in multiclass tasks, for the same images: the class of each pixel, uint8 (E, E).
            The bytes do not determine it, as two classes may have the same largest value.
        seam_index: of tiles, see `harness.training.metrics.seam_index`; None for whole images.
    """

    scores: ImageScores
    probabilities: dict[int, NDArray[np.uint8]]
    ms_per_image: float
    decisions: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    seam_index: float | None = None


def validate_network(
    network: nn.Module,
    cache: ImageCache,
    indices: Sequence[int] | NDArray[np.integer],
    *,
    names: Mapping[int, str],
    device: torch.device,
    normalizer: ImageNormalizer,
    batch_size: int,
    keep_indices: Sequence[int] | NDArray[np.integer] = (),
    metrics: Sequence[Component] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> ValidationResult:
    """Score a network, in evaluation mode and fp32, on the images `indices` of a cache.

    Padding is cut off the logits, which are then resized to eval_size; sums are float64, so that
    the batch size changes no more than the rounding of the network itself. Pixels whose truth is
    IGNORE_INDEX are in no sum and no count.

    Args:
        names: image names by row.
        keep_indices: indices of the images whose probabilities are returned.
        metrics: user-defined metrics, computed in addition to the sums.
        should_stop: called before each batch; True ends the validation.

    Raises:
        TrainingInterruptedError: `should_stop` returned True.
        DivergedError: the network's outputs are not finite.
        ConfigError: one of `metrics` failed.
    """
    network.eval()
    collector = _ScoreCollector(cache, names, set(np.asarray(keep_indices).tolist()), metrics)
    times = []
    # Not torch.inference_mode: a tensor that a network caches in it could not be trained with.
    with torch.no_grad(), disable_tf32():
        for start in range(0, len(indices), batch_size):
            if should_stop():
                raise TrainingInterruptedError("stopped during the validation")
            batch = np.asarray(indices[start : start + batch_size], np.int64)
            logits, milliseconds = timed_forward(
                network,
                normalizer.normalize_in_boxes(cache.images[batch], device, cache.boxes[batch]),
            )
            times.append((milliseconds, len(batch)))
            for piece, p in _iterate_pieces(logits, cache, batch):
                collector.add(piece, p)
        scores = collector.scores()
    ms_per_image = float(np.median([milliseconds() / n for milliseconds, n in times]))
    return ValidationResult(scores, collector.probabilities, ms_per_image, collector.decisions)


class _ScoreCollector:
    """Collects sums, user-defined metrics and kept probabilities, piece by piece.

    Args:
        keep: indices of the images whose probabilities are kept.

    Attributes:
        probabilities: as `ValidationResult.probabilities`.
        decisions: as `ValidationResult.decisions`.
    """

    def __init__(
        self,
        cache: ImageCache,
        names: Mapping[int, str],
        keep: Container[int],
        metrics: Sequence[Component],
    ) -> None:
        self._cache, self._names, self._keep, self._metrics = cache, names, keep, metrics
        self._rows: list[int] = []
        # They stay on the device until the end: reading them per batch would leave a GPU idle.
        self._sums: list[Tensor] = []
        self._custom_values: list[list[float]] = []
        self.probabilities: dict[int, NDArray[np.uint8]] = {}
        self.decisions: dict[int, NDArray[np.uint8]] = {}

    def add(self, piece: NDArray[np.int64], p: Tensor) -> None:
        """Add the probabilities of the images with these indices."""
        cache, rows = self._cache, self._cache.row_of[piece].tolist()
        decision = decide(p, cache.data)
        self._rows += rows
        self._sums.append(class_sums(p, decision, cache.truths[piece], cache.data))
        kept_positions = [n for n, index in enumerate(piece.tolist()) if index in self._keep]
        if self._metrics or kept_positions:
            require_finite(self._sums[-1])  # before a metric or a byte is made of NaN
        if self._metrics:
            self._custom_values += compute_custom_metrics(
                self._metrics,
                p.cpu().numpy(),
                np.asarray(cache.truths[piece]),
                cache.data,
                [self._names[row] for row in rows],
            )
        for position in kept_positions:
            row = rows[position]
            self.probabilities[row] = quantize_probabilities(p[position])
            if cache.data.task == "multiclass":
                self.decisions[row] = decision[position].to(torch.uint8).cpu().numpy()

    def scores(self) -> ImageScores:
        """The scores of all images that were added."""
        sums, data = require_finite(torch.cat(self._sums)), self._cache.data
        entries = make_score_entries(sums, self._rows, data, self._names)
        return scores_from_custom_rows(
            entries, self._custom_values, [part.name for part in self._metrics]
        )


def probabilities_from_logits(
    logits: Tensor,
    boxes: NDArray[np.int64],
    eval_size: int | tuple[int, int],
    task: Literal["binary", "multiclass", "multilabel"] = "binary",
) -> Tensor:
    """Compute probabilities from logits (N, K, h, w): fp32 (N, E, E) or (N, K, E, E).

    Args:
        logits: outputs for padded or stretched images.
        boxes: (N, 4), top, left, height, width of each image inside (h, w).
        eval_size: E, in pixels; or (height, width).
        task: softmax in multiclass tasks, else sigmoid.
    """
    size = (eval_size, eval_size) if isinstance(eval_size, int) else eval_size
    if (boxes == [0, 0, *logits.shape[-2:]]).all():
        resized = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    else:
        pieces = [
            F.interpolate(
                logits[n : n + 1, :, top_px : top_px + height, left_px : left_px + width],
                size=size,
                mode="bilinear",
                align_corners=False,
            )
            for n, (top_px, left_px, height, width) in enumerate(boxes.tolist())
        ]
        resized = torch.cat(pieces)
    # Logits are resized, then turned into probabilities, here and in `native_size`: the other order
    # gives other metrics.
    return activate(resized, task)


def activate(logits: Tensor, task: Literal["binary", "multiclass", "multilabel"]) -> Tensor:
    """Turn logits (N, K, H, W) into fp32 probabilities: (N, H, W) in two-class tasks."""
    if task == "multiclass":
        return torch.softmax(logits.float(), dim=1)
    p = torch.sigmoid(logits.float())
    return p.squeeze(1) if task == "binary" else p


def quantize_probabilities(p: Tensor) -> NDArray[np.uint8]:
    """Convert probabilities to bytes, rint(255 p); p >= 0.5 is value >= 128."""
    # rint rounds halves to even: 127.5, which is p = 0.5, becomes 128.
    return np.asarray(np.rint(255 * p.double().cpu().numpy()), np.uint8)


@contextmanager
def disable_tf32() -> Iterator[None]:
    """Compute fp32 without TF32, which cuDNN uses by default: relative errors of 1e-7, not 1e-3."""
    backends: tuple[Any, ...] = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    earlier_precisions = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, value in zip(backends, earlier_precisions, strict=True):
            backend.fp32_precision = value


def _iterate_pieces(
    logits: Tensor, cache: ImageCache, batch: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Iterate over the probabilities of a batch in pieces of bounded size, with their indices."""
    size = cache.truths.shape[1]
    step = max(1, _MAX_PROBABILITIES // (logits.shape[1] * size * size))
    for start in range(0, len(batch), step):
        piece = batch[start : start + step]
        p = probabilities_from_logits(
            logits[start : start + step], cache.boxes[piece], size, cache.data.task
        )
        yield piece, p.cpu() if p.device.type == "mps" else p  # MPS has no float64


def decide(p: Tensor, data: StudyDataConfig) -> Tensor:
    """Decide p >= 0.5 in the shape of p, in multiclass tasks the most probable class (N, E, E)."""
    return p.argmax(dim=1) if data.task == "multiclass" else p >= THRESHOLD


def class_sums(
    p: Tensor, decision: Tensor, truths: NDArray[np.uint8], data: StudyDataConfig
) -> Tensor:
    """The sums of each image and scored class, float64 (N, classes, 7), on the device of `p`."""
    truth = to_device(truths, p.device)
    sums = []
    for index in data.scored_classes:
        match data.task:
            case "binary":
                planes = p, truth == index, decision, truth
            case "multiclass":
                planes = p[:, index], truth == index, decision == index, truth
            case "multilabel":
                of_class = truth[..., index]
                planes = p[:, index], of_class == 1, decision[:, index], of_class
        ignored = planes[3] == IGNORE_INDEX if may_have_ignored_pixels(data) else None
        sums.append(_confusion_sums(*planes[:3], ignored))
    return torch.stack(sums).permute(2, 0, 1)


def require_finite(sums: Tensor) -> Tensor:
    """Copy the sums to the host and check them: a probability of NaN makes its sum NaN."""
    sums = sums.cpu()
    if not torch.isfinite(sums).all():
        raise DivergedError("the network's outputs are not finite numbers")
    return sums


def make_score_entries(
    sums: Tensor, rows: Sequence[int], data: StudyDataConfig, names: Mapping[int, str]
) -> list[ScoreEntry]:
    """One entry per image and scored class, image by image."""
    return [
        (row, names[row], index, *of_class[:3], *map(int, of_class[3:]))
        for row, of_image in zip(rows, sums.tolist(), strict=True)
        for index, of_class in zip(data.scored_classes, of_image, strict=True)
    ]


def _confusion_sums(p: Tensor, y: Tensor, decision: Tensor, ignored: Tensor | None) -> Tensor:
    """Σpy, Σp, Σy, tp, fp, fn, tn of one class, float64 (7, N); all arguments are (N, E, E)."""
    # float32 sums of a million pixels lose digits that depend on the order of addition, i.e. the
    # GPU.
    p, axes = p.double(), (1, 2)
    true_negative = ~decision & ~y
    if ignored is not None:  # y is false there already
        p, decision, true_negative = p * ~ignored, decision & ~ignored, true_negative & ~ignored
    sums = [(p * y).sum(axes), p.sum(axes), y.sum(axes)]
    counts = [decision & y, decision & ~y, ~decision & y, true_negative]
    return torch.stack([column.double() for column in sums + [c.sum(axes) for c in counts]])
