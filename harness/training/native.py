"""Probabilities at each image's own size, of one network or the mean of several, with flips."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.config import TrialConfig
from harness.data.encode import png
from harness.data.overlay import as_rgb
from harness.data.resize import content_box, fit_image, resize_image
from harness.data_config import StudyDataConfig
from harness.models.saved import load_network
from harness.training.artifacts import drawn
from harness.training.errors import DivergedError
from harness.training.memory import Memory, retried
from harness.training.normalise import build_normalise
from harness.training.validate import THRESHOLD, exact_fp32, probabilities

Picture = NDArray[Any]  # uint8 or uint16 (H, W, C), as stored
Probabilities = NDArray[np.float32]  # (K, H, W); K = 1 in two-class tasks

PLAIN = ((False, False),)
FLIPS = ((False, False), (False, True), (True, False), (True, True))  # up-down, left-right
_SHOWN_PX = 480  # longest side of a picture that is drawn


class NativePredictor:
    """A saved network with the settings it was trained under.

    Args:
        folder: `best/model` of a trial.
        config: of that trial: image_size, fit, normalize, batch_size.
        data: what the images' values mean.
        device: where to compute.

    Raises:
        ConfigError: the folder holds no saved network.
    """

    def __init__(
        self, folder: Path, config: TrialConfig, data: StudyDataConfig, device: torch.device
    ) -> None:
        self._network = retried(lambda: load_network(folder).to(device).eval())
        self._size, self._fit = config.data.height_width, config.data.fit
        self._normalise = build_normalise(config, data)
        self._task = data.task
        self._device = device
        self._memory = Memory(config.train.batch_size)

    def __call__(self, images: Sequence[Picture]) -> list[Probabilities]:
        """Probabilities (K, H, W) of each image at its own size, fp32 on the CPU.

        Images are brought to `data.image_size` as in training; padding is cut off the logits,
        which are then resized bilinearly (align_corners=False); sigmoid or softmax come last.

        Raises:
            DivergedError: an answer is not finite.
        """
        return self._memory.fit(lambda at_once: list(self._in_batches(images, at_once)))

    def _in_batches(self, images: Sequence[Picture], at_once: int) -> Iterator[Probabilities]:
        with torch.inference_mode(), exact_fp32(), _repeatable():
            for start in range(0, len(images), at_once):
                yield from self._batch(images[start : start + at_once])

    def _batch(self, images: Sequence[Picture]) -> Iterator[Probabilities]:
        fitted = np.stack([fit_image(image, self._size, self._fit) for image in images])
        sizes = [(int(image.shape[0]), int(image.shape[1])) for image in images]
        boxes = np.array([content_box(size, self._size, self._fit) for size in sizes], np.int64)
        logits = self._network(self._normalise.in_boxes(fitted, self._device, boxes)).float()
        for n, (height, width) in enumerate(sizes):
            one = slice(n, n + 1)
            p = probabilities(logits[one], boxes[one], (height, width), self._task)
            if not torch.isfinite(p).all():
                raise DivergedError("the network's answers are not finite numbers")
            yield p.reshape(-1, height, width).cpu().numpy()


def mean_probabilities(
    predictors: Sequence[NativePredictor], images: Sequence[Picture], *, tta: bool = False
) -> list[Probabilities]:
    """The mean over networks, and with `tta` over four flips of each image, fp32 (K, H, W).

    Flips are the identity, left-right, up-down and both. The image is flipped before anything
    else is done to it, and its probabilities are flipped back. The mean is taken in float64.
    """
    sums = [np.zeros(0)] * len(images)
    flips = FLIPS if tta else PLAIN
    for predictor in predictors:
        for flip in flips:
            answers = predictor([_flipped(image, flip, (0, 1)) for image in images])
            for n, p in enumerate(answers):
                back = _flipped(p, flip, (1, 2)).astype(np.float64)
                sums[n] = back if not sums[n].size else sums[n] + back
    count = len(predictors) * len(flips)
    return [(total / count).astype(np.float32) for total in sums]


def picture(
    image: Picture, mask: NDArray[np.uint8], p: Probabilities, data: StudyDataConfig
) -> bytes:
    """The decisions over an image as PNG, at most 480 px long: see `harness.data.overlay`."""
    decided: NDArray[np.uint8]
    match data.task:
        case "binary":
            decided = (p[0] >= THRESHOLD).astype(np.uint8)
        case "multiclass":
            decided = p.argmax(axis=0).astype(np.uint8)
        case "multilabel":
            decided = (p >= THRESHOLD).astype(np.uint8)
    canvas = drawn(as_rgb(image, data.range), mask, decided, data)
    scale = min(1.0, _SHOWN_PX / max(canvas.shape[:2]))
    size = (max(1, round(canvas.shape[0] * scale)), max(1, round(canvas.shape[1] * scale)))
    return png(np.asarray(resize_image(canvas, size), np.uint8))


def _flipped(array: NDArray[Any], flip: tuple[bool, bool], axes: tuple[int, int]) -> NDArray[Any]:
    chosen = tuple(axis for axis, wanted in zip(axes, flip, strict=True) if wanted)
    return np.ascontiguousarray(np.flip(array, chosen))


@contextmanager
def _repeatable() -> Iterator[None]:
    """The same operations in the same order at every call, on CUDA too."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
