"""Training batches: in an order and with augmentations that follow from seed and epoch alone."""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.files.resize import content_masks
from harness.data.loading.augment import AugmentationPipeline, scale_for_augmentation
from harness.data.loading.prefetch import Prefetcher, available_threads
from harness.data.splits.splits import subset_size

Array8 = NDArray[np.uint8]
Images = NDArray[Any]  # uint8, uint16, or float32 in [0, 1]
Batch = tuple[Images, Array8]
Contents = NDArray[np.bool_] | None


class TrainBatches:
    """Shuffled, augmented batches of cached images.

    Args:
        images: uint8 or uint16 (N, h, w, C).
        masks: uint8 (N, h, w) or (N, h, w, K).
        indices: which of the N are trained on.
        augment: what happens to each image.
        value_range: the values of uint16 images that become 0 and 1; augmentation knows no others.
        seed: of order and augmentation.
        boxes: int64 (N, 4), where the content of each image is; None: `contents` are not asked for.
    """

    def __init__(
        self,
        images: Images,
        masks: Array8,
        indices: Sequence[int] | NDArray[np.integer],
        batch_size: int,
        augment: AugmentationPipeline,
        seed: int,
        value_range: tuple[float, float] = (0.0, 65535.0),
        boxes: NDArray[np.int64] | None = None,
    ) -> None:
        self._images, self._masks, self._boxes = images, masks, boxes
        self._indices = np.asarray(indices, np.int64)
        if not len(self._indices) or batch_size < 1:
            raise ValueError("needs at least one image and a batch size of at least 1")
        self._batch_size, self._seed = batch_size, seed
        self._augment, self._range = augment, value_range
        self._idle_pipelines: SimpleQueue[AugmentationPipeline] = (
            SimpleQueue()
        )  # one for each thread that makes
        self._prefetcher = Prefetcher(available_threads())

    def __len__(self) -> int:
        """Steps per epoch. A last batch of one image is dropped, unless there is no other.

        BatchNorm over one image of 1x1 features fails in half of the architectures.
        """
        n_full, remainder = divmod(len(self._indices), self._batch_size)
        dropped = remainder == 1 and n_full > 0
        return n_full + (remainder > 0 and not dropped)

    def epoch(self, n: int, first: int = 0) -> Iterator[Batch]:
        """As `epoch_with_contents`, without the third."""
        for images, masks, _ in self.epoch_with_contents(n, first):
            yield images, masks

    def epoch_with_contents(
        self, n: int, first: int = 0
    ) -> Iterator[tuple[Images, Array8, Contents]]:
        """The batches of epoch `n`, from 1: images (B, h, w, C) and masks (B, h, w[, K]).

        Those before the batch `first`, from 0, are left out.

        Images are uint8 as stored, or float32 in [0, 1] made from uint16. The third says where
        their content is, (B, h, w): not padding, not filled by augmentation; None: everywhere.

        The same whichever epochs came before. Batches are prepared ahead, on other threads.
        """
        order = np.random.default_rng([self._seed, n]).permutation(self._indices)
        chunks = [order[k * self._batch_size :][: self._batch_size] for k in range(len(self))]
        chunks = chunks[first:]
        yield from self._prefetcher.prefetch(lambda k: self._make_batch(chunks[k], n), len(chunks))

    def _make_batch(self, chunk: NDArray[np.int64], epoch: int) -> tuple[Images, Array8, Contents]:
        try:
            augment = self._idle_pipelines.get_nowait()
        except Empty:
            augment = copy.deepcopy(self._augment)  # it keeps its random state in itself
        samples = [self._make_sample(augment, int(i), epoch) for i in chunk]
        self._idle_pipelines.put(augment)
        contents = [content for _, _, content in samples if content is not None]
        return (
            np.stack([image for image, _, _ in samples]),
            np.stack([mask for _, mask, _ in samples]),
            np.stack(contents) if contents and not np.all(contents) else None,
        )

    def _make_sample(
        self, augment: AugmentationPipeline, i: int, epoch: int
    ) -> tuple[Images, Array8, Contents]:
        image, mask = scale_for_augmentation(self._images[i], self._range), self._masks[i]
        seed = _sample_seed(self._seed, epoch, i)
        if self._boxes is None:
            return *augment(image, mask, seed), None
        size = (int(image.shape[0]), int(image.shape[1]))
        masks = content_masks(self._boxes[i : i + 1], size)
        content = np.ones(size, np.bool_) if masks is None else masks[0]
        return augment.apply_with_content(image, mask, content, seed)


def subset_indices(indices: Sequence[int] | NDArray[np.integer], share: float) -> NDArray[np.int64]:
    """A share of the given indices, in rising order: at least one, `ceil(share * n)` otherwise.

    The same at every call, and nested: a smaller share is part of every larger one.
    """
    ranked = sorted((int(i) for i in indices), key=_subset_rank)
    return np.array(sorted(ranked[: subset_size(len(ranked), share)]), np.int64)


def _subset_rank(index: int) -> bytes:
    return hashlib.sha256(f"subset {index}".encode()).digest()


def _sample_seed(seed: int, epoch: int, index: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, index]).generate_state(1)[0])
