"""Validation: one network, the validation images, the sums behind every metric."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.data.cache import ImageCache
from harness.training.errors import DivergedError
from harness.training.metrics import Entry, ImageScores, from_entries
from harness.training.normalise import Normalise, to_device

THRESHOLD = 0.5
FOREGROUND = 1  # the one class of a two-class task that is scored


@dataclass(frozen=True)
class Validation:
    """What one pass over the validation images gives.

    Attributes:
        scores: one entry per image.
        probabilities: by row of split.csv, for the images that were to be kept: uint8 (E, E),
            rint(255 p), so that p >= 0.5 is value >= 128.
        ms_per_image: median over batches of the network's time for one image, in milliseconds.
    """

    scores: ImageScores
    probabilities: dict[int, NDArray[np.uint8]]
    ms_per_image: float


def validate(
    network: nn.Module,
    cache: ImageCache,
    indices: Sequence[int] | NDArray[np.integer],
    *,
    names: Mapping[int, str],
    device: torch.device,
    normalise: Normalise,
    batch_size: int,
    keep: Sequence[int] | NDArray[np.integer] = (),
) -> Validation:
    """Score a network, in evaluation mode and fp32, on the images `indices` of a cache.

    Padding is cut off the logits, which are then brought to eval_size; sums are float64, so that
    they do not depend on the batch size beyond what the network's own rounding does.

    Args:
        names: image names by row.
        keep: the indices whose probabilities are wanted.

    Raises:
        DivergedError: the network's answers are not finite.
    """
    network.eval()
    wanted, entries, kept, times = set(np.asarray(keep).tolist()), [], {}, []
    with torch.inference_mode(), exact_fp32():
        for start in range(0, len(indices), batch_size):
            batch = np.asarray(indices[start : start + batch_size], np.int64)
            logits, seconds = _timed(network, normalise(cache.images[batch], device))
            times.append(1000 * seconds / len(batch))
            p = probabilities(logits, cache.boxes[batch], cache.truths.shape[1])
            if not torch.isfinite(p).all():
                raise DivergedError("the network's answers are not finite numbers")
            entries += _entries(p, cache, batch, names)
            for position, index in enumerate(batch.tolist()):
                if index in wanted:
                    kept[int(cache.row_of[index])] = to_bytes(p[position])
    return Validation(from_entries(entries), kept, float(np.median(times)))


def probabilities(logits: Tensor, boxes: NDArray[np.int64], eval_size: int) -> Tensor:
    """Probabilities (N, E, E) from logits (N, 1, h, w), fp32.

    Args:
        logits: of padded or stretched images.
        boxes: (N, 4), top, left, height, width of each image inside (h, w).
        eval_size: E, in pixels.
    """
    size = (eval_size, eval_size)
    if (boxes == [0, 0, *logits.shape[-2:]]).all():
        resized = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    else:
        pieces = [
            F.interpolate(
                logits[n : n + 1, :, top : top + height, left : left + width],
                size=size,
                mode="bilinear",
                align_corners=False,
            )
            for n, (top, left, height, width) in enumerate(boxes.tolist())
        ]
        resized = torch.cat(pieces)
    return torch.sigmoid(resized.float()).squeeze(1)


def to_bytes(p: Tensor) -> NDArray[np.uint8]:
    """Probabilities as bytes, rint(255 p); p >= 0.5 is value >= 128."""
    return np.asarray(np.rint(255 * p.double().cpu().numpy()), np.uint8)


@contextmanager
def exact_fp32() -> Iterator[None]:
    """fp32 without TF32, which cuDNN takes by default: products right to 1e-7, not 1e-3."""
    places: tuple[Any, ...] = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value


def _timed(network: nn.Module, images: Tensor) -> tuple[Tensor, float]:
    _wait(images.device)
    begin = time.perf_counter()
    logits: Tensor = network(images)
    _wait(images.device)
    return logits, time.perf_counter() - begin


def _wait(device: torch.device) -> None:
    """Wait until an asynchronous device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _entries(
    p: Tensor, cache: ImageCache, batch: NDArray[np.int64], names: Mapping[int, str]
) -> list[Entry]:
    if p.device.type == "mps":
        p = p.cpu()  # MPS has no float64
    y = to_device(cache.truths[batch], p.device).bool()
    decided = p >= THRESHOLD
    p, axes = p.double(), (1, 2)
    sums = [(p * y).sum(axes), p.sum(axes), y.sum(axes).double()]
    counts = [decided & y, decided & ~y, ~decided & y, ~decided & ~y]
    columns = [column.tolist() for column in (*sums, *(count.sum(axes) for count in counts))]
    rows = cache.row_of[batch].tolist()
    return [
        (row, names[row], FOREGROUND, *numbers)
        for row, numbers in zip(rows, zip(*columns, strict=True), strict=True)
    ]
