"""Predictions at each image's native size, of one network or the mean of several, with flips."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.config.study import TrialConfig
from harness.data.files.encode import encode_png
from harness.data.files.overlay import as_rgb
from harness.data.files.resize import content_box, fit_image, pad_to, resize_image
from harness.data.windows.grid import Flip
from harness.data.windows.overview import read_reduced
from harness.data.windows.tiles import ImageWindows, flip_image, tile_geometry
from harness.data.windows.window import DecodedImages, Window
from harness.models.serialization import load_network
from harness.training.hardware.batch_splitting import MicroBatcher, retry_on_oom
from harness.training.hardware.normalizer import build_normalizer
from harness.training.loop.artifacts import draw_decision
from harness.training.loop.errors import DivergedError
from harness.training.metrics.sliding_window import (
    Band,
    flip_planes,
    iterate_logits,
    resize_content,
)
from harness.training.metrics.validation import (
    THRESHOLD,
    activate,
    disable_tf32,
    probabilities_from_logits,
)

StoredImage = NDArray[Any]  # uint8 or uint16 (H, W, C), as stored
Probabilities = NDArray[np.float32]  # (K, H, W); K = 1 in two-class tasks

NO_FLIP: tuple[Flip, ...] = ((False, False),)
FLIPS: tuple[Flip, ...] = (
    (False, False),
    (False, True),
    (True, False),
    (True, True),
)  # up-down, left-right
MAX_OVERLAY_PX = 480  # longest side of an overlay
_PIECE_PIXELS = 1 << 20  # of logits that are turned into probabilities together


class NativePredictor:
    """A saved network with the settings of its training.

    Args:
        folder: `best/model` of a trial.
        config: configuration of that trial: image_size, fit, tile, normalize, batch_size.
        data: task, channels and value range of the images.
        device: device to compute on.

    Raises:
        ConfigError: the folder holds no saved network.
    """

    def __init__(
        self, folder: Path, config: TrialConfig, data: StudyDataConfig, device: torch.device
    ) -> None:
        self._network = retry_on_oom(lambda: load_network(folder).to(device).eval())
        self._size, self._fit = config.data.height_width, config.data.whole_fit
        self._tiles = tile_geometry(config.data.tile)
        self._normalizer = build_normalizer(config, data)
        self._task = data.task
        self._device = device
        self._micro_batcher = MicroBatcher(config.train.batch_size)

    @property
    def uses_tiles(self) -> bool:
        """True if the network predicts in windows."""
        return self._tiles is not None

    @property
    def n_parameters(self) -> int:
        """Parameters of the network."""
        return sum(parameter.numel() for parameter in self._network.parameters())

    def __call__(self, images: Sequence[StoredImage]) -> list[Probabilities]:
        """Probabilities (K, H, W) of each image at its own size, fp32 on the CPU.

        Images are resized to `data.image_size` as in training; padding is cut off the logits, which
        are then resized bilinearly (align_corners=False); sigmoid or softmax come last. With tiles,
        the logits are those of `harness.training.metrics.sliding_window`.

        Raises:
            DivergedError: an output is not finite.
        """
        if self._tiles is not None:
            return [self._predict_tiles(image) for image in images]
        return self._micro_batcher.run(lambda at_once: list(self._predict_batches(images, at_once)))

    def iterate_bands(
        self, source: ImageWindows, row: int, flip: Flip = NO_FLIP[0]
    ) -> Iterator[tuple[int, Probabilities]]:
        """Yield the probabilities (K, rows, W) of a large image in bands, with their first row.

        With tiles, no more of the image than a row of windows is in memory. A network of whole
        images has its input, which was reduced in bands, and its logits at the image's own size.
        The caller disables gradients, and sets `fixed_arithmetic`.

        Args:
            row: index of the image in `source`.
            flip: flip the image, and its probabilities back.

        Raises:
            DivergedError: an output is not finite.
        """
        for top, logits in self._iterate_logits(source, row, flip):
            n_rows = max(1, _PIECE_PIXELS // logits.shape[3])
            for start in range(0, logits.shape[2], n_rows):
                p = activate(logits[:, :, start : start + n_rows], self._task)
                yield top + start, _finite_array(p, (int(p.shape[-2]), int(p.shape[-1])))

    def _iterate_logits(self, source: ImageWindows, row: int, flip: Flip) -> Iterator[Band]:
        if self._tiles is not None:
            n = self._micro_batcher.micro_batch_size
            yield from iterate_logits(source, row, self._tiles, self._forward_fitting, n, flip)
            return
        height, width, _ = source.shape(row)
        box = content_box((height, width), self._size, self._fit)
        image = flip_image(read_reduced(source, row, (box[2], box[3])), flip)
        inputs = pad_to(image, self._size, 0)[None]
        logits = self._forward_fitting(inputs, np.array([box], np.int64))
        window = Window(0, 0, height, width)
        yield 0, flip_planes(resize_content(logits, box, window), flip)

    def _forward_fitting(self, images: NDArray[Any], boxes: NDArray[np.int64]) -> torch.Tensor:
        """Logits of a batch, in smaller batches if it does not fit into memory."""
        return self._micro_batcher.run(
            lambda n: torch.cat(
                [
                    self._forward(images[start : start + n], boxes[start : start + n])
                    for start in range(0, len(images), n)
                ]
            )
        )

    def _predict_tiles(self, image: StoredImage) -> Probabilities:
        result = np.zeros((0, *image.shape[:2]), np.float32)
        with torch.inference_mode(), fixed_arithmetic():
            for top, p in self.iterate_bands(DecodedImages([image], []), 0):
                if not len(result):  # not a list of bands: it would hold the results twice
                    result = np.empty((len(p), *image.shape[:2]), np.float32)
                result[:, top : top + p.shape[1]] = p
        return result

    def _forward(self, images: NDArray[Any], boxes: NDArray[np.int64]) -> torch.Tensor:
        inputs = self._normalizer.normalize_in_boxes(images, self._device, boxes)
        logits: torch.Tensor = self._network(inputs).float()
        return logits

    def _predict_batches(
        self, images: Sequence[StoredImage], micro_batch_size: int
    ) -> Iterator[Probabilities]:
        with torch.inference_mode(), fixed_arithmetic():
            for start in range(0, len(images), micro_batch_size):
                yield from self._predict_batch(images[start : start + micro_batch_size])

    def _predict_batch(self, images: Sequence[StoredImage]) -> Iterator[Probabilities]:
        fitted = np.stack([fit_image(image, self._size, self._fit) for image in images])
        sizes = [(int(image.shape[0]), int(image.shape[1])) for image in images]
        boxes = np.array([content_box(size, self._size, self._fit) for size in sizes], np.int64)
        logits = self._forward(fitted, boxes)
        for n, (height, width) in enumerate(sizes):
            image_slice = slice(n, n + 1)
            # One image at a time, since native sizes differ and cannot be stacked.
            p = probabilities_from_logits(
                logits[image_slice], boxes[image_slice], (height, width), self._task
            )
            yield _finite_array(p, (height, width))


def _finite_array(p: torch.Tensor, size: tuple[int, int]) -> Probabilities:
    """Array (K, height, width) of the probabilities of one image; raises DivergedError for NaN."""
    # p is in [0, 1] or NaN, so its sum tells as much as a look at each pixel, sooner.
    if not torch.isfinite(p.sum()):
        raise DivergedError("the network's outputs are not finite numbers")
    return p.reshape(-1, *size).cpu().numpy()


def load_predictors(
    members: Sequence[tuple[Path, TrialConfig]], data: StudyDataConfig, device: torch.device
) -> list[NativePredictor]:
    """Networks of an ensemble; a folder that occurs several times is loaded once, and shared.

    Args:
        members: `best/model` and configuration of each trial.

    Raises:
        ConfigError: a folder holds no saved network.
    """
    loaded: dict[Path, NativePredictor] = {}
    for folder, config in members:
        if folder not in loaded:
            loaded[folder] = NativePredictor(folder, config, data, device)
    return [loaded[folder] for folder, _ in members]


def mean_probabilities(
    predictors: Sequence[NativePredictor], images: Sequence[StoredImage], *, tta: bool = False
) -> list[Probabilities]:
    """Average over networks, and with `tta` over four flips of each image, fp32 (K, H, W).

    The flips are none, left-right, up-down and both. The image is flipped before any other step,
    and its probabilities are flipped back. The mean is computed in float64. A network that occurs
    several times counts as often, and is computed once.
    """
    copies = Counter(predictors)
    if len(copies) == 1 and not tta:
        return predictors[0](images)  # the mean of one is itself, to the last bit
    sums = [np.zeros(0)] * len(images)
    flips = FLIPS if tta else NO_FLIP
    for predictor, n_copies in copies.items():
        for flip in flips:
            predictions = predictor([_flip(image, flip, (0, 1)) for image in images])
            for n, p in enumerate(predictions):
                unflipped = n_copies * _flip(p, flip, (1, 2)).astype(np.float64)
                sums[n] = unflipped if not sums[n].size else sums[n] + unflipped
    count = len(predictors) * len(flips)
    return [(total / count).astype(np.float32) for total in sums]


def render_decision_png(
    image: StoredImage, mask: NDArray[np.uint8], p: Probabilities, data: StudyDataConfig
) -> bytes:
    """Draw the decisions over an image as PNG, at most 480 px long, see `data.files.overlay`."""
    return draw_decision_png(image, mask, decide_plainly(p, data), data)


def decide_plainly(p: Probabilities, data: StudyDataConfig) -> NDArray[np.uint8]:
    """Decisions (H, W), or (K, H, W) in multilabel tasks, at 0.5 or by argmax."""
    if data.task == "multiclass":
        return np.asarray(p.argmax(axis=0), np.uint8)
    return np.asarray((p[0] if data.task == "binary" else p) >= THRESHOLD, np.uint8)


def draw_decision_png(
    image: StoredImage,
    mask: NDArray[np.uint8],
    decision: NDArray[np.uint8],
    data: StudyDataConfig,
) -> bytes:
    """Draw decisions, as of `decide_plainly`, over an image of their size as PNG."""
    canvas = draw_decision(as_rgb(image, data.range), mask, decision, data)
    scale = min(1.0, MAX_OVERLAY_PX / max(canvas.shape[:2]))
    size = (max(1, round(canvas.shape[0] * scale)), max(1, round(canvas.shape[1] * scale)))
    return encode_png(np.asarray(resize_image(canvas, size), np.uint8))


def _flip(array: NDArray[Any], flip: tuple[bool, bool], axes: tuple[int, int]) -> NDArray[Any]:
    flipped_axes = tuple(axis for axis, is_flipped in zip(axes, flip, strict=True) if is_flipped)
    # np.flip gives a view with negative strides, which torch.from_numpy refuses.
    return np.ascontiguousarray(np.flip(array, flipped_axes))


@contextmanager
def fixed_arithmetic() -> Iterator[None]:
    """Set the process-wide flags that each prediction sets, so that several threads can predict."""
    with disable_tf32(), _deterministic_cudnn():
        yield


@contextmanager
def _deterministic_cudnn() -> Iterator[None]:
    """Make cuDNN choose the same algorithms at every call.

    `benchmark` selects by time, so that a prediction could change with the load of the GPU.
    """
    cudnn: Any = torch.backends.cudnn
    earlier_flags = cudnn.deterministic, cudnn.benchmark
    # These flags hold for the whole process, so that the caller must get its own back.
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = earlier_flags
