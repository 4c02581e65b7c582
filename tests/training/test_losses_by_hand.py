"""Every loss in every task against a slow version: numpy, one pixel after the other, float64.

Half of the pixels are void, labels are smoothed, classes weigh differently: all at once.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from harness.config import components
from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.study import BUILTIN_LOSSES, LossConfig
from harness.training.loss.combined_loss import build_training_loss

GAMMA, ALPHA, SMOOTHING, WEIGHTS = 1.5, 0.3, 0.1, (2.0, 0.5, 1.0)
DATA = {
    "binary": StudyDataConfig(ignore_index=9),
    "multiclass": StudyDataConfig(task="multiclass", classes=("a", "b", "c"), ignore_index=9),
    "multilabel": StudyDataConfig(task="multilabel", classes=("a", "b", "c")).model_copy(
        update={"ignore_index": 9}  # files of such masks have no void yet; the losses know it
    ),
}
N, SIDE = 2, 5


def drawn(task: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K, H, W) and masks as batches hold them; class c is in no multiclass mask."""
    random = np.random.default_rng(7)
    data = DATA[task]
    logits = 2 * random.normal(size=(N, data.n_outputs, SIDE, SIDE))
    shape = (N, SIDE, SIDE, 3) if task == "multilabel" else (N, SIDE, SIDE)
    mask = random.integers(0, 2, shape)
    mask[random.random(shape) < 0.5] = IGNORE_INDEX
    return logits, mask.astype(np.uint8)


def planes(task: str, logits: np.ndarray, mask: np.ndarray) -> Iterator[list[tuple[Any, ...]]]:
    """For each output k the pixels that count: (image, logit, probability, 0 or 1)."""
    for k in range(logits.shape[1]):
        pixels = []
        for n, y, x in np.ndindex(N, SIDE, SIDE):
            value = mask[n, y, x, k] if task == "multilabel" else mask[n, y, x]
            if value == IGNORE_INDEX:
                continue
            z = logits[n, :, y, x]
            p = np.exp(z[k]) / np.exp(z).sum() if task == "multiclass" else 1 / (1 + np.exp(-z[k]))
            pixels.append((n, z[k], p, int(value == (k if task == "multiclass" else 1))))
        yield pixels


def region(name: str, pixels: list[tuple[Any, ...]]) -> float:
    """1 - the score of one class; 0 where it is not in the truth."""
    tp = sum(p * y for _, _, p, y in pixels)
    false, missed = sum(p * (1 - y) for *_, p, y in pixels), sum((1 - p) * y for *_, p, y in pixels)
    if not any(y for *_, y in pixels):
        return 0.0
    below = {
        "dice": tp + (false + missed) / 2,
        "jaccard": tp + false + missed,
        "tversky": tp + ALPHA * false + (1 - ALPHA) * missed,
    }[name]
    return float(1 - tp / below)


def entropies(task: str, logits: np.ndarray, mask: np.ndarray) -> Iterator[tuple[float, float]]:
    """Cross-entropy and weight of each pixel (and output), with smoothed targets."""
    if task != "multiclass":
        weights = WEIGHTS if task == "multilabel" else (1.0,)
        for k, pixels in enumerate(planes(task, logits, mask)):
            for *_, p, y in pixels:
                soft = 1 - SMOOTHING if y else SMOOTHING
                yield -soft * np.log(p) - (1 - soft) * np.log(1 - p), weights[k]
        return
    of_classes = list(planes(task, logits, mask))
    for pixel in zip(*of_classes, strict=True):
        right = [y for *_, y in pixel].index(1)
        soft = [1 - SMOOTHING if k == right else SMOOTHING / 2 for k in range(3)]
        yield -sum(s * np.log(p) for s, (*_, p, _) in zip(soft, pixel, strict=True)), WEIGHTS[right]


def extension(errors: list[float], truth: list[int]) -> float:
    """Lovász extension: errors, largest first, times the growth of 1 - IoU as pixels go wrong."""

    def one_minus_iou(wrong: set[int]) -> float:
        yes = {k for k, y in enumerate(truth) if y}
        return 1 - len(yes - wrong) / len(yes | wrong) if yes | wrong else 0.0

    wrong: set[int] = set()
    total = 0.0
    for k in sorted(range(len(errors)), key=lambda k: -errors[k]):
        before = one_minus_iou(wrong)
        wrong.add(k)
        total += max(errors[k], 0.0) * (one_minus_iou(wrong) - before)
    return total


def lovasz(task: str, logits: np.ndarray, mask: np.ndarray) -> float:
    values = []
    for pixels in planes(task, logits, mask):
        if task == "multiclass":
            if any(y for *_, y in pixels):
                errors = [abs(y - p) for *_, p, y in pixels]
                values.append(extension(errors, [y for *_, y in pixels]))
            continue
        for image in range(N):
            of_image = [(z, y) for n, z, _, y in pixels if n == image]
            hinge = [1 - (2 * y - 1) * z for z, y in of_image]
            values.append(extension(hinge, [y for _, y in of_image]))
    return float(np.mean(values))


def signed_distance(plane: np.ndarray, y: int, x: int) -> float:
    """Of one pixel that counts, by looking at all others."""

    def nearest(value: int) -> float:
        return min(float(np.hypot(y - i, x - j)) for i, j in np.argwhere(plane == value))

    if not (plane == 0).any() or not (plane == 1).any():
        return 0.0
    return nearest(1) if plane[y, x] == 0 else 1 - nearest(0)


def boundary(task: str, logits: np.ndarray, mask: np.ndarray) -> float:
    values = []
    for n, k, y, x in np.ndindex(logits.shape):
        plane = mask[n, ..., k] if task == "multilabel" else mask[n]
        if task == "multiclass":
            plane = np.where(plane == IGNORE_INDEX, IGNORE_INDEX, plane == k)
        if plane[y, x] != IGNORE_INDEX:
            z = logits[n, :, y, x]
            p = np.exp(z[k]) / np.exp(z).sum() if task == "multiclass" else 1 / (1 + np.exp(-z[k]))
            values.append(p * signed_distance(plane, y, x))
    return float(np.mean(values))


def slow(name: str, task: str, logits: np.ndarray, mask: np.ndarray) -> float:
    if name in ("dice", "jaccard", "tversky"):
        return float(np.mean([region(name, pixels) for pixels in planes(task, logits, mask)]))
    if name == "lovasz":
        return lovasz(task, logits, mask)
    if name == "boundary":
        return boundary(task, logits, mask)
    each = list(entropies(task, logits, mask))
    power = GAMMA if name == "focal" else 0.0
    above = sum(w * (1 - np.exp(-value)) ** power * value for value, w in each)
    return float(above / sum(w for _, w in each))


CASES = [
    (task, name)
    for task in DATA
    for name in BUILTIN_LOSSES
    if task in components.find_component("loss", name).tasks
]


def test_there_are_23_cases() -> None:
    assert len(CASES) == 3 * 8 - 1  # bce is not of multiclass tasks


@pytest.mark.parametrize(("task", "name"), CASES)
def test_loss_equals_the_slow_version(task: str, name: str) -> None:
    logits, mask = drawn(task)
    pixel = name in ("bce", "ce", "focal")
    config = LossConfig(
        **{"dice": float(name == "boundary"), "bce": 0.0, name: 1.0},
        focal_gamma=GAMMA,
        tversky_alpha=ALPHA,
        label_smoothing=SMOOTHING,
        class_weights=WEIGHTS if pixel and task != "binary" else None,
    )
    loss = build_training_loss(config, DATA[task])
    value = loss(torch.tensor(logits), torch.tensor(mask)).parts[name]
    assert float(value) == pytest.approx(slow(name, task, logits, mask), rel=1e-5)
