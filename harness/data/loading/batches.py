"""Build shuffled, augmented training batches and prefetch them on threads.

Order and augmentation depend on seed and epoch only, never on the number of threads.
"""

import copy
import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.core.processors import available_threads
from harness.data.files.packed_array import PackedArray
from harness.data.files.resize import content_masks
from harness.data.loading.augment import AugmentationPipeline, scale_for_augmentation
from harness.data.loading.epoch_order import EpochOrder
from harness.data.loading.training_samples import CachedSamples, SampleReader
from harness.data.splits.splits import subset_size

Array8 = NDArray[np.uint8]
Images = NDArray[Any]  # uint8, uint16, or float32 in [0, 1]
Batch = tuple[Images, Array8]
Contents = NDArray[np.bool_] | None
T = TypeVar("T")

# How many threads pay depends on device, cores, image size and augmentation, so it is measured
# while training runs. Adding threads blindly can halve the speed on two cores.
MAX_WAIT_SHARE = 0.05  # share of the time that training may spend waiting for batches
MIN_SPEEDUP = 1.05  # smallest factor by which one more thread must speed up to stay
PROBE_ITEMS = 8  # items that are timed before the number of threads changes
MAX_THREADS = 8


class EpochBatches(Protocol):
    """Batches of each epoch of a training, on the CPU or on the device."""

    @property
    def n_images(self) -> int:
        """Training images."""
        ...

    @property
    def n_draws(self) -> int:
        """Images, or windows of images, that an epoch draws."""
        ...

    def __len__(self) -> int:
        """Steps per epoch."""
        ...

    def epoch_with_contents(self, n: int, first: int = 0) -> Iterator[tuple[Any, Any, Any]]:
        """Yield images, masks and contents of epoch `n`; see `TrainBatches`."""
        ...


class TrainBatches:
    """Shuffled, augmented batches of cached images.

    Args:
        images: uint8 or uint16 (N, h, w, C).
        masks: uint8 (N, h, w) or (N, h, w, K).
        indices: indices of the training images among the N.
        augment: pipeline that is applied to each image.
        value_range: values of uint16 images that become 0 and 1, the range of the augmentation.
        seed: seed of order and augmentation.
        boxes: int64 (N, 4), the box of the content of each image; None: no `contents` are made.
        order: draws of each epoch; None: each image once.
        reader: reads the images that `order` draws; None: from `images` and `masks`.
    """

    def __init__(
        self,
        images: Images | PackedArray,
        masks: Array8 | PackedArray,
        indices: Sequence[int] | NDArray[np.integer],
        batch_size: int,
        augment: AugmentationPipeline,
        seed: int,
        value_range: tuple[float, float] = (0.0, 65535.0),
        boxes: NDArray[np.int64] | None = None,
        order: EpochOrder | None = None,
        reader: SampleReader | None = None,
    ) -> None:
        if not len(indices) or batch_size < 1:
            raise ValueError("needs at least one image and a batch size of at least 1")
        self._order = EpochOrder(indices, seed) if order is None else order
        self._read = CachedSamples(images, masks, boxes) if reader is None else reader
        self._tracks_content = boxes is not None
        self._batch_size, self._seed = batch_size, seed
        self._augment, self._range = augment, value_range
        # A pipeline holds its own random state, so each thread needs a copy of it.
        self._idle_pipelines: SimpleQueue[AugmentationPipeline] = SimpleQueue()
        self._prefetcher = Prefetcher(available_threads())

    def __len__(self) -> int:
        """Steps per epoch."""
        return steps_per_epoch(self.n_draws, self._batch_size)

    @property
    def n_images(self) -> int:
        return self._order.n_images

    @property
    def n_draws(self) -> int:
        return len(self._order)

    def epoch(self, n: int, first: int = 0) -> Iterator[Batch]:
        """Yield images and masks as `epoch_with_contents`, without the contents."""
        for images, masks, _ in self.epoch_with_contents(n, first):
            yield images, masks

    def epoch_with_contents(
        self, n: int, first: int = 0
    ) -> Iterator[tuple[Images, Array8, Contents]]:
        """Yield the batches of epoch `n`, from 1: images (B, h, w, C) and masks (B, h, w[, K]).

        Batches before `first`, from 0, are skipped: a resumed epoch continues in the middle.

        Images are uint8 as stored, or float32 in [0, 1] computed from uint16. The third array is
        True at content, (B, h, w), and False at padding and fill of the augmentation; None: all of
        it is content.

        The result does not depend on earlier epochs. Batches are prefetched on other threads.
        """
        chunks = split_draws(self._order.draws(n), self._batch_size)[first:]
        yield from self._prefetcher.prefetch(lambda k: self._make_batch(chunks[k], n), len(chunks))

    def _make_batch(self, chunk: NDArray[np.int64], epoch: int) -> tuple[Images, Array8, Contents]:
        try:
            augment = self._idle_pipelines.get_nowait()
        except Empty:
            augment = copy.deepcopy(self._augment)
        samples = [self._make_sample(augment, i, earlier, epoch) for i, earlier in chunk.tolist()]
        self._idle_pipelines.put(augment)
        contents = [content for _, _, content in samples if content is not None]
        return (
            np.stack([image for image, _, _ in samples]),
            np.stack([mask for _, mask, _ in samples]),
            np.stack(contents) if contents and not np.all(contents) else None,
        )

    def _make_sample(
        self, augment: AugmentationPipeline, i: int, occurrence: int, epoch: int
    ) -> tuple[Images, Array8, Contents]:
        stored, mask, box = self._read(i, occurrence, epoch)
        image = scale_for_augmentation(stored, self._range)
        seed = sample_seed(self._seed, epoch, i, occurrence)
        if not self._tracks_content:
            return *augment(image, mask, seed), None
        size = (int(image.shape[0]), int(image.shape[1]))
        masks = content_masks(np.array([box], np.int64), size)
        content = np.ones(size, np.bool_) if masks is None else masks[0]
        return augment.apply_with_content(image, mask, content, seed)


def steps_per_epoch(n_draws: int, batch_size: int) -> int:
    """Number of batches. A last batch of one image is dropped unless it is the only one.

    BatchNorm over one image of 1x1 features fails in half of the architectures.
    """
    n_full, remainder = divmod(n_draws, batch_size)
    dropped = remainder == 1 and n_full > 0
    return n_full + (remainder > 0 and not dropped)


def split_draws(draws: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Split the draws of an epoch, (n, 2), into those of its batches."""
    return [
        draws[k * batch_size :][:batch_size] for k in range(steps_per_epoch(len(draws), batch_size))
    ]


def subset_indices(indices: Sequence[int] | NDArray[np.integer], share: float) -> NDArray[np.int64]:
    """Choose a share of the indices, ascending: `ceil(share * n)`, at least one.

    The choice is the same at every call, and a smaller share is part of every larger one.
    """
    ranked = sorted((int(i) for i in indices), key=_subset_rank)
    return np.array(sorted(ranked[: subset_size(len(ranked), share)]), np.int64)


def _subset_rank(index: int) -> bytes:
    # SHA-256, since numpy may change the streams of its generators between versions, and a study
    # that continues would then train on other images.
    return hashlib.sha256(f"subset {index}".encode()).digest()


# Per image and not per thread: with per-worker seeds the same augmentations can repeat in every
# epoch (albumentations#2473).
def sample_seed(seed: int, epoch: int, index: int, occurrence: int = 0) -> int:
    """Seed of the augmentation of one image: a function of its own draw alone."""
    # The first draw of an image has the seed that it has in epochs that draw each image once.
    parts = [seed, epoch, index, occurrence] if occurrence else [seed, epoch, index]
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


class Prefetcher:
    """Computes items in order ahead of their use; starts with one thread.

    While the consumer waits too long, one more thread is tried for a few items. It stays if items
    then arrive faster.

    Args:
        max_threads: upper limit of threads.
        clock: monotonic seconds.

    Attributes:
        threads: current number of threads.
    """

    def __init__(self, max_threads: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.threads = 1
        self._max_threads, self._clock = max(1, min(max_threads, MAX_THREADS)), clock
        # Seconds of the last probe with one thread less, while one more is tried.
        self._previous_seconds: float | None = None
        self._is_tuned = self._max_threads == 1
        self._n_timed, self._waited, self._seconds = 0, 0.0, 0.0  # since the last adjustment

    def prefetch(self, make: Callable[[int], T], count: int) -> Iterator[T]:
        """Yield make(0), make(1), … make(count - 1) in this order."""
        pending: deque[Future[T]] = deque()
        n_submitted = 0
        with ThreadPoolExecutor(self._max_threads, thread_name_prefix="ahead") as pool:
            for k in range(count):
                item_start = self._clock()
                if not pending:
                    pending.append(pool.submit(make, n_submitted))
                    n_submitted += 1
                wait_start = self._clock()
                # First in, first out: the order of batches never depends on which thread finishes
                # first.
                item = pending.popleft().result()
                waited = self._clock() - wait_start
                while n_submitted < count and len(pending) < self.threads:
                    pending.append(pool.submit(make, n_submitted))
                    n_submitted += 1
                yield item
                if k:  # the first item always has to be waited for
                    self._record_timing(self._clock() - item_start, waited)

    def _record_timing(self, seconds: float, waited: float) -> None:
        """Add the timing of an item; short epochs are evaluated together."""
        self._n_timed += 1
        self._seconds, self._waited = self._seconds + seconds, self._waited + waited
        if self._n_timed == PROBE_ITEMS:
            if not self._is_tuned:
                self._adjust_threads(self._seconds, self._waited)
            self._n_timed, self._waited, self._seconds = 0, 0.0, 0.0

    def _adjust_threads(self, seconds: float, waited: float) -> None:
        """Keep, add or remove a thread after the timings of PROBE_ITEMS items."""
        if self._previous_seconds is not None and seconds * MIN_SPEEDUP > self._previous_seconds:
            self.threads -= 1  # it did not help
            self._is_tuned = True
        elif waited > MAX_WAIT_SHARE * seconds and self.threads < self._max_threads:
            self._previous_seconds = seconds
            self.threads += 1
        else:
            self._previous_seconds = None
