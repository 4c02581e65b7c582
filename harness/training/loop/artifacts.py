"""Files of a trial in addition to its log: model, probabilities, overlays."""

import contextlib
import errno
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core import files
from harness.core.paths import TrialPaths
from harness.data.files.encode import encode_png
from harness.data.files.overlay import (
    as_rgb,
    background_classes,
    draw_class_overlay,
    draw_overlay,
    wrong_pixels,
)
from harness.data.files.resize import resize_image
from harness.data.loading.image_cache import ImageCache
from harness.models.serialization import save_network

MAX_PROBABILITY_IMAGES = 200  # images of a trial, divided by the number of classes, but at least
MIN_PROBABILITY_IMAGES = 20
N_OVERLAY_IMAGES = 2


def overlay_epochs(epochs: int) -> set[int]:
    """Epochs in which overlays are drawn: the first, after each third, the last."""
    return {1, math.ceil(epochs / 3), math.ceil(2 * epochs / 3), epochs}


def overlay_indices(cache: ImageCache) -> NDArray[np.int64]:
    """Validation images that are drawn, the same in every trial; all have foreground."""
    return pick_evenly(foreground_indices(cache), N_OVERLAY_IMAGES)


def foreground_indices(cache: ImageCache) -> NDArray[np.int64]:
    """Validation images with foreground, in order.

    In two-class and multilabel tasks that is a pixel of any class, in multiclass tasks any pixel
    that is not ignored.
    """

    def has_foreground(truth: NDArray[np.uint8]) -> bool:
        counts = truth != IGNORE_INDEX if cache.data.task == "multiclass" else truth == 1
        return bool(counts.any())

    return np.array([i for i in cache.val.tolist() if has_foreground(cache.truths[i])], np.int64)


def probability_indices(cache: ImageCache) -> NDArray[np.int64]:
    """Validation images whose probabilities are kept; fewer if there are many classes."""
    return pick_evenly(
        cache.val, max(MIN_PROBABILITY_IMAGES, MAX_PROBABILITY_IMAGES // cache.data.n_outputs)
    )


def pick_evenly(indices: NDArray[np.int64], max_count: int) -> NDArray[np.int64]:
    """Pick at most `max_count` of the indices, evenly from the first to the last."""
    if len(indices) <= max_count:
        return indices
    # The step is above 1, as there are more indices than picks: rounding gives none twice.
    return indices[np.linspace(0, len(indices) - 1, max_count).round().astype(np.int64)]


def write_overlays(
    paths: TrialPaths,
    epoch: int,
    cache: ImageCache,
    probabilities: Mapping[int, NDArray[np.uint8]],
    decisions: Mapping[int, NDArray[np.uint8]] = MappingProxyType({}),
) -> None:
    """Write `overlays/<epoch>-<row>.png` at eval_size.

    Args:
        probabilities: by row, as in `ValidationResult`.
        decisions: in multiclass tasks, as in `ValidationResult`.
    """
    index_of = {row: index for index, row in enumerate(cache.row_of.tolist())}
    for row, probability in probabilities.items():
        truth = np.asarray(cache.truths[index_of[row]])
        stored = _unpadded_image(cache, index_of[row])
        image = resize_image(as_rgb(stored, cache.data.range), (truth.shape[0], truth.shape[1]))
        # 128, since bytes are rint(255 p): p = 0.5 gives 127.5, which rounds to the even 128.
        decision = decisions[row] if row in decisions else (probability >= 128).astype(np.uint8)
        overlay_image = draw_decision(image, truth, decision, cache.data)
        files.write_bytes(paths.overlay(epoch, row), encode_png(overlay_image))


def _unpadded_image(cache: ImageCache, index: int) -> NDArray[Any]:
    top_px, left_px, height, width = cache.boxes[index].tolist()
    return np.asarray(cache.images[index, top_px : top_px + height, left_px : left_px + width])


def draw_decision(
    image: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    decision: NDArray[np.uint8],
    data: StudyDataConfig,
) -> NDArray[np.uint8]:
    """Draw hits, misses and false alarms; with several classes, truth and decision side by side.

    Args:
        image: RGB, uint8 (H, W, 3).
        truth: (H, W), or (H, W, K) in multilabel tasks; values as `read_mask` returns.
        decision: (H, W), or (K, H, W) in multilabel tasks.
    """
    if data.task == "binary":
        return draw_overlay(image, truth, decision)
    unpainted = background_classes(data.classes)
    if decision.ndim == 3:
        decision = np.moveaxis(decision, 0, 2)
    scored = np.where(truth == IGNORE_INDEX, IGNORE_INDEX, decision).astype(np.uint8)
    wrong = wrong_pixels(truth, decision)
    panels = [
        draw_class_overlay(image, truth, plain=unpainted),
        np.full((image.shape[0], 4, 3), 255, np.uint8),
        draw_class_overlay(image, scored, wrong=wrong, plain=unpainted),
    ]
    return np.concatenate(panels, axis=1)


def write_model(paths: TrialPaths, network: nn.Module) -> None:
    """Write `best/model/`, which `harness.models.serialization` reads, replacing an older one.

    Raises:
        OSError: it could not be written, e.g. on a full disk.
    """
    # Contiguous: files then do not depend on the memory order that was fastest on this device.
    cpu_network = network.to("cpu").to(memory_format=torch.contiguous_format)
    with replace_folder(paths.model) as folder:
        try:
            save_network(cpu_network, folder)
        except SafetensorError as error:
            # safetensors raises its own type for a full disk, with the errno only in the text.
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error


def write_probabilities(
    paths: TrialPaths,
    probabilities: Mapping[int, NDArray[np.uint8]],
    decisions: Mapping[int, NDArray[np.uint8]] = MappingProxyType({}),
) -> None:
    """Write `best/probabilities/`, replacing an older one. Arguments as in `ValidationResult`."""
    with replace_folder(paths.probabilities) as folder:
        for row, p in probabilities.items():
            planes = {1: p} if p.ndim == 2 else dict(enumerate(p))
            for index, picture in planes.items():
                (folder / paths.probability(row, index).name).write_bytes(encode_png(picture))
        for row, picture in decisions.items():
            (folder / paths.class_map(row).name).write_bytes(encode_png(picture))


@contextlib.contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `folder` once it is complete and on disk."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        with files.attach_path(folder):
            yield temporary
            for path in temporary.iterdir():
                with path.open("rb+") as handle:
                    os.fsync(handle.fileno())
        # A rename cannot replace a folder that has files. If the process is killed between these
        # two lines, the trial is continued from its checkpoint and writes the folder again.
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
