"""Training batches that are gathered and augmented on the device.

The order of the images and the parameters of their augmentation are those of the batches that the
CPU makes. Pixels differ by its rounding, and noise comes from the device's own generator. Never run
on a GPU yet; tested on torch's CPU tensors.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.data.files.resize import content_masks
from harness.data.loading.augment_draws import AugmentationDraws, DrawnStep
from harness.data.loading.batches import Prefetcher, sample_seed, split_draws, steps_per_epoch
from harness.data.loading.epoch_order import EpochOrder
from harness.training.hardware.batch_splitting import retry_on_oom
from harness.training.hardware.normalizer import to_device
from harness.training.on_device.device_images import DeviceImages
from harness.training.on_device.step_functions import AugmentedBatch, apply_step

DeviceBatch = tuple[Tensor, Tensor, Tensor | None]


class _BatchDraws(NamedTuple):
    """Images of a batch, by index in the cache, with seeds and steps of their augmentation."""

    indices: NDArray[np.int64]
    seeds: list[int]
    steps: list[DrawnStep]


class DeviceBatches:
    """Shuffled, augmented batches of images that lie on the device; as `TrainBatches`.

    Args:
        draws: of the augmentation.
        order: draws of each epoch.
        seed: seed of the augmentation.
        boxes: int64 (N, 4), the box of the content of each image of the cache; None: no contents
            are made.
    """

    def __init__(
        self,
        data: DeviceImages,
        draws: AugmentationDraws,
        order: EpochOrder,
        batch_size: int,
        seed: int,
        boxes: NDArray[np.int64] | None = None,
    ) -> None:
        self._data, self._augmentation, self._order = data, draws, order
        self._batch_size, self._seed, self._boxes = batch_size, seed, boxes
        # Draws are made by the interpreter, where a second thread is no faster.
        self._prefetcher = Prefetcher(1)

    def __len__(self) -> int:
        return steps_per_epoch(self.n_draws, self._batch_size)

    @property
    def n_images(self) -> int:
        return self._order.n_images

    @property
    def n_draws(self) -> int:
        return len(self._order)

    def epoch_with_contents(self, n: int, first: int = 0) -> Iterator[DeviceBatch]:
        """Yield the batches of epoch `n`, from 1, without those before `first`, from 0.

        Returns:
            Images uint8 (B, h, w, C), masks uint8 (B, h, w[, K]), and contents, booleans (B, h, w),
            or None if all of it is content.
        """
        chunks = split_draws(self._order.draws(n), self._batch_size)[first:]

        def draw_batch(k: int) -> _BatchDraws:
            seeds = [sample_seed(self._seed, n, i, earlier) for i, earlier in chunks[k].tolist()]
            return _BatchDraws(chunks[k][:, 0], seeds, self._augmentation(seeds))

        for drawn in self._prefetcher.prefetch(draw_batch, len(chunks)):
            yield retry_on_oom(partial(self._make_batch, drawn))

    def _make_batch(self, drawn: _BatchDraws) -> DeviceBatch:
        images, masks = self._data.gather(drawn.indices)
        content = self._content(drawn)
        if not drawn.steps:
            return images, masks, content
        planes = masks[:, None] if masks.ndim == 3 else masks.permute(0, 3, 1, 2)
        batch = AugmentedBatch(
            images.permute(0, 3, 1, 2).float(),
            planes.contiguous(),
            None if content is None else content[:, None].to(torch.uint8),
            drawn.seeds,
        )
        for step in drawn.steps:
            apply_step(batch, step)
        return (
            batch.images.to(torch.uint8).permute(0, 2, 3, 1).contiguous(),
            batch.masks[:, 0] if masks.ndim == 3 else batch.masks.permute(0, 2, 3, 1).contiguous(),
            None if batch.content is None else batch.content[:, 0].bool(),
        )

    def _content(self, drawn: _BatchDraws) -> Tensor | None:
        """Content of the images before augmentation, where it will matter."""
        if self._boxes is None:
            return None
        images = self._data.images
        size = (int(images.shape[1]), int(images.shape[2]))
        content = content_masks(self._boxes[drawn.indices], size)
        if content is None and any(step.can_lose_content for step in drawn.steps):
            content = np.ones((len(drawn.indices), *size), np.bool_)
        return None if content is None else to_device(content, images.device)
