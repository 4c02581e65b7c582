"""Validation at the size of each image: sums over bands, so that no whole image is needed."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.config.component_interface import Component
from harness.data.loading.image_cache import ImageCache
from harness.data.windows.tiles import TileGeometry
from harness.data.windows.window import Window, WindowSource
from harness.training.hardware.device_sync import timed_forward
from harness.training.hardware.normalizer import ImageNormalizer
from harness.training.loop.errors import TrainingInterruptedError
from harness.training.metrics.custom_metrics import compute_custom_metrics
from harness.training.metrics.image_scores import (
    ImageScores,
    ScoreEntry,
    scores_from_custom_rows,
)
from harness.training.metrics.seam_index import SeamCounter
from harness.training.metrics.sliding_window import iterate_logits, resize_content
from harness.training.metrics.validation import (
    ValidationResult,
    activate,
    class_sums,
    decide,
    disable_tf32,
    make_score_entries,
    quantize_probabilities,
    require_finite,
)

_BAND_PIXELS = 2**24  # of one class, scored together: 128 MB as float64


@dataclass(frozen=True)
class NativeImages:
    """Validation images and their truths at their own sizes.

    Attributes:
        cache: whole images at the size of the network's input.
        source: images and masks at their own sizes, with the indices of `cache`.
        geometry: of the tiles; None: the network sees whole images.
    """

    cache: ImageCache
    source: WindowSource
    geometry: TileGeometry | None


def validate_native(
    network: nn.Module,
    images: NativeImages,
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
    """Score a network on images at their own sizes; otherwise as `validate_network`.

    Each pixel is scored once, after its windows were averaged. Kept probabilities are the means
    over the pixels that one pixel at eval_size shows.

    Raises:
        As `validate_network`.
    """
    network.eval()
    forward = _TimedNetwork(network, normalizer, device, should_stop)
    collector = _NativeCollector(images, names, set(np.asarray(keep_indices).tolist()), metrics)
    times = []
    with torch.no_grad(), disable_tf32():
        for index in np.asarray(indices, np.int64).tolist():
            collector.add(index, _iterate_probabilities(images, index, forward, batch_size))
            times.append(forward.take_milliseconds())
        scores = collector.scores()
    return ValidationResult(
        scores,
        collector.probabilities,
        float(np.median(times)),
        collector.decisions,
        collector.seams.index(),
    )


class _TimedNetwork:
    """Network with its normalisation, which measures its own time."""

    def __init__(
        self,
        network: nn.Module,
        normalizer: ImageNormalizer,
        device: torch.device,
        should_stop: Callable[[], bool],
    ) -> None:
        self._network, self._normalizer, self._device = network, normalizer, device
        self._should_stop = should_stop
        self._times: list[Callable[[], float]] = []

    def __call__(self, images: NDArray[Any], boxes: NDArray[np.int64]) -> Tensor:
        if self._should_stop():
            raise TrainingInterruptedError("stopped during the validation")
        inputs = self._normalizer.normalize_in_boxes(images, self._device, boxes)
        logits, milliseconds = timed_forward(self._network, inputs)
        self._times.append(milliseconds)
        return logits.float()

    def take_milliseconds(self) -> float:
        """Milliseconds of the passes since the last call."""
        total = sum(milliseconds() for milliseconds in self._times)
        self._times.clear()
        return total


def _iterate_probabilities(
    images: NativeImages, index: int, forward: _TimedNetwork, batch_size: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield first pixel row and probabilities, as `activate` returns them, in bounded bands."""
    source, cache = images.source, images.cache
    if images.geometry is not None:
        bands = iterate_logits(source, index, images.geometry, forward, batch_size)
    else:
        height, width, _ = source.shape(index)
        logits = forward(cache.images[[index]], cache.boxes[[index]])
        top, left, box_height, box_width = cache.boxes[index].tolist()
        box = (top, left, box_height, box_width)
        bands = iter([(0, resize_content(logits, box, Window(0, 0, height, width)))])
    for first, logits in bands:
        rows = max(1, _BAND_PIXELS // logits.shape[3])
        for start in range(0, logits.shape[2], rows):
            p = activate(logits[:, :, start : start + rows], cache.data.task)
            yield first + start, p.cpu() if p.device.type == "mps" else p  # MPS has no float64


class _NativeCollector:
    """Collects sums, user-defined metrics and kept probabilities, image by image."""

    def __init__(
        self,
        images: NativeImages,
        names: Mapping[int, str],
        keep: Container[int],
        metrics: Sequence[Component],
    ) -> None:
        self._images, self._names, self._keep, self._metrics = images, names, keep, metrics
        self._entries: list[ScoreEntry] = []
        self._custom_values: list[list[float]] = []
        self.probabilities: dict[int, NDArray[np.uint8]] = {}
        self.decisions: dict[int, NDArray[np.uint8]] = {}
        self.seams = SeamCounter()

    def add(self, index: int, bands: Iterator[tuple[int, Tensor]]) -> None:
        """Add an image by its bands from top to bottom."""
        source, data = self._images.source, self._images.cache.data
        row = int(self._images.cache.row_of[index])
        height, width, _ = source.shape(index)
        geometry = self._images.geometry
        # An image of one band is reduced as a whole: its bytes are those of earlier versions.
        is_large = height * width > _BAND_PIXELS and not self._metrics
        is_kept = index in self._keep
        needs_all = bool(self._metrics) or (is_kept and not is_large)
        pooled = PooledPlanes(height, data.eval_size) if is_kept and is_large else None
        sums: Tensor | None = None
        parts: list[Tensor] = []
        if geometry is not None:
            self.seams.start_image(geometry.grid(source.shape(index)))
        for top, p in bands:
            decision = decide(p, data)
            if geometry is not None:
                self.seams.add_band(top, decision.reshape(-1, *p.shape[-2:]).cpu().numpy())
            truth = source.read_mask(index, Window(top, 0, int(p.shape[-2]), width))
            of_band = class_sums(p, decision, truth[None], data)
            sums = of_band if sums is None else sums + of_band
            parts += [p.cpu()] if needs_all else []
            if pooled is not None:
                pooled.add(top, (p if p.ndim == 4 else p[:, None]).cpu())
        assert sums is not None
        self._entries += make_score_entries(require_finite(sums), [row], data, self._names)
        if needs_all:
            self._add_whole(index, row, torch.cat(parts, dim=-2))
        elif pooled is not None:
            self._keep_reduced(row, pooled.means())

    def _add_whole(self, index: int, row: int, p: Tensor) -> None:
        """Compute the metrics of users, and keep probabilities, from all of an image (1, ...)."""
        cache = self._images.cache
        height, width, _ = self._images.source.shape(index)
        if self._metrics:
            truth = self._images.source.read_mask(index, Window(0, 0, height, width))
            self._custom_values += compute_custom_metrics(
                self._metrics, p.numpy(), truth[None], cache.data, [self._names[row]]
            )
        if index in self._keep:
            planes = p if p.ndim == 4 else p[:, None]
            self._keep_reduced(row, F.adaptive_avg_pool2d(planes, cache.data.eval_size)[0])

    def _keep_reduced(self, row: int, reduced: Tensor) -> None:
        """Keep probabilities (K, S, S) at eval_size; K = 1 in two-class tasks."""
        data = self._images.cache.data
        is_binary = data.task == "binary"
        self.probabilities[row] = quantize_probabilities(reduced[0] if is_binary else reduced)
        if data.task == "multiclass":
            self.decisions[row] = reduced.argmax(dim=0).to(torch.uint8).numpy()

    def scores(self) -> ImageScores:
        """The scores of all images that were added."""
        return scores_from_custom_rows(
            self._entries, self._custom_values, [part.name for part in self._metrics]
        )


class PooledPlanes:
    """`adaptive_avg_pool2d` of planes (1, K, H, W) that come in bands; equal but for rounding.

    Args:
        height: H, at least `size`.
        size: height and width of the result.
    """

    def __init__(self, height: int, size: int) -> None:
        # The rows of a mean, as torch chooses them; neighbours share a row where H / size is no
        # whole number.
        steps = torch.arange(size)
        self._starts = steps * height // size
        self._ends = -(-(steps + 1) * height // size)
        self._sums: Tensor | None = None

    def add(self, top: int, band: Tensor) -> None:
        """Add rows (1, K, h, W) that begin at row `top`."""
        n_rows, size = int(band.shape[2]), len(self._starts)
        narrow = F.adaptive_avg_pool2d(band, (n_rows, size))[0].double()
        rows = top + torch.arange(n_rows)
        is_part = (rows >= self._starts[:, None]) & (rows < self._ends[:, None])
        sums = is_part.double() @ narrow
        self._sums = sums if self._sums is None else self._sums + sums

    def means(self) -> Tensor:
        """Means (K, size, size), fp32."""
        assert self._sums is not None, "there are bands"
        counts = (self._ends - self._starts)[:, None]
        return (self._sums / counts).float()
