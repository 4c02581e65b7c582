"""What a trial leaves beside its log: model, scores, probabilities, overlays."""

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

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn

from harness import files
from harness.data.cache import ImageCache
from harness.data.encode import png
from harness.data.overlay import as_rgb, class_overlay, overlay, unpainted, wrong_pixels
from harness.data.resize import resize_image
from harness.data_config import VOID, StudyDataConfig
from harness.models.saved import save_network
from harness.paths import TrialPaths

MOST_PROBABILITIES = 200  # pictures of one trial, and then still images enough to look at:
LEAST_IMAGES = 20
N_OVERLAY_IMAGES = 2


def overlay_epochs(epochs: int) -> set[int]:
    """The epochs that are drawn: the first, after each third, the last."""
    return {1, math.ceil(epochs / 3), math.ceil(2 * epochs / 3), epochs}


def overlay_indices(cache: ImageCache) -> NDArray[np.int64]:
    """The validation images that are drawn, the same in every trial: with something to find."""
    return spread(found_indices(cache), N_OVERLAY_IMAGES)


def found_indices(cache: ImageCache) -> NDArray[np.int64]:
    """The validation images whose truth has something to find, in order.

    In two-class and multilabel tasks that is any class, in multiclass ones any pixel that counts.
    """

    def found(truth: NDArray[np.uint8]) -> bool:
        counts = truth != VOID if cache.data.task == "multiclass" else truth == 1
        return bool(counts.any())

    return np.array([i for i in cache.val.tolist() if found(cache.truths[i])], np.int64)


def kept_indices(cache: ImageCache) -> NDArray[np.int64]:
    """The validation images whose probabilities are kept; fewer where there are many classes."""
    return spread(cache.val, max(LEAST_IMAGES, MOST_PROBABILITIES // cache.data.n_outputs))


def spread(indices: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the indices, evenly spread from the first to the last."""
    if len(indices) <= most:
        return indices
    return indices[np.linspace(0, len(indices) - 1, most).round().astype(np.int64)]


def write_overlays(
    paths: TrialPaths,
    epoch: int,
    cache: ImageCache,
    shown: Mapping[int, NDArray[np.uint8]],
    decisions: Mapping[int, NDArray[np.uint8]] = MappingProxyType({}),
) -> None:
    """Write `overlays/<epoch>-<row>.png` at eval_size.

    Args:
        shown: probabilities by row, as in `Validation`.
        decisions: multiclass tasks: as in `Validation`.
    """
    index_of = {row: index for index, row in enumerate(cache.row_of.tolist())}
    for row, probability in shown.items():
        index = index_of[row]
        top, left, height, width = cache.boxes[index].tolist()
        stored = np.asarray(cache.images[index, top : top + height, left : left + width])
        truth = np.asarray(cache.truths[index])
        image = resize_image(as_rgb(stored, cache.data.range), (truth.shape[0], truth.shape[1]))
        decided = decisions[row] if row in decisions else (probability >= 128).astype(np.uint8)
        picture = drawn(image, truth, decided, cache.data)
        files.write_bytes(paths.overlay(epoch, row), png(picture))


def drawn(
    image: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    decided: NDArray[np.uint8],
    data: StudyDataConfig,
) -> NDArray[np.uint8]:
    """Hits, misses and false alarms; of several classes the truth, and right of it the decision.

    Args:
        image: RGB, uint8 (H, W, 3).
        truth: (H, W), or (H, W, K) in multilabel tasks; values as `read_mask` says.
        decided: (H, W), or (K, H, W) in multilabel tasks.
    """
    if data.task == "binary":
        return overlay(image, truth, decided)
    plain = unpainted(data.classes)
    if decided.ndim == 3:
        decided = np.moveaxis(decided, 0, 2)
    counted = np.where(truth == VOID, VOID, decided).astype(np.uint8)
    sides = [
        class_overlay(image, truth, plain=plain),
        np.full((image.shape[0], 4, 3), 255, np.uint8),
        class_overlay(image, counted, wrong=wrong_pixels(truth, decided), plain=plain),
    ]
    return np.concatenate(sides, axis=1)


def write_model(paths: TrialPaths, network: nn.Module) -> None:
    """Write `best/model/`, which `harness.models.saved` reads; replaces what was there.

    Raises:
        OSError: it could not be written, e.g. on a full disk.
    """
    movable = network.to("cpu").to(memory_format=torch.contiguous_format)
    with replacing_folder(paths.model) as folder:
        try:
            save_network(movable, folder)
        except SafetensorError as error:  # its own kind, with the system's number in the text
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error


def write_probabilities(
    paths: TrialPaths,
    kept: Mapping[int, NDArray[np.uint8]],
    decisions: Mapping[int, NDArray[np.uint8]] = MappingProxyType({}),
) -> None:
    """Write `best/probabilities/`; replaces what was there. Arguments as in `Validation`."""
    with replacing_folder(paths.probabilities) as folder:
        for row, p in kept.items():
            planes = {1: p} if p.ndim == 2 else dict(enumerate(p))
            for index, picture in planes.items():
                (folder / paths.probability(row, index).name).write_bytes(png(picture))
        for row, picture in decisions.items():
            (folder / paths.decision(row).name).write_bytes(png(picture))


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` once it is whole and on disk."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        with files.naming(folder):
            yield temporary
            for path in temporary.iterdir():
                with path.open("rb+") as handle:
                    os.fsync(handle.fileno())
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
