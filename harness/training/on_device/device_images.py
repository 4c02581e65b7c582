"""Training images and masks of a cache in the memory of a device.

Never run on a GPU yet; tested on torch's CPU tensors.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.data.files.packed_array import PackedArray
from harness.data.loading.image_cache import ImageCache
from harness.training.hardware.batch_splitting import release_memory
from harness.training.hardware.device import free_memory_bytes
from harness.training.hardware.normalizer import to_device
from harness.training.loop.errors import is_out_of_memory

MAX_MEMORY_SHARE: Final = 0.25  # of the free memory: networks and activations need the rest
_CHUNK: Final = 128  # images that are decoded and copied together


class NotOnDeviceError(Exception):
    """The training images stay on the CPU; the message is the reason, without a full stop."""


@dataclass(frozen=True)
class DeviceImages:
    """Training images of a cache, in the order of `ImageCache.train`.

    Attributes:
        images: uint8 (n, h, w, C).
        masks: uint8 (n, h, w) or (n, h, w, K).
        indices: int64 (n,), their indices in the cache, ascending.
    """

    images: Tensor
    masks: Tensor
    indices: NDArray[np.int64]

    def gather(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Copies of the images and masks with these indices in the cache."""
        positions = to_device(np.searchsorted(self.indices, indices), self.images.device)
        return self.images[positions], self.masks[positions]


class DeviceImageStore:
    """Keeps the images of the last cache on the device, from trial to trial of a worker."""

    def __init__(self) -> None:
        self._cache: ImageCache | None = None
        self._device: torch.device | None = None
        self._held: DeviceImages | None = None

    def load(self, cache: ImageCache, device: torch.device) -> DeviceImages:
        """Copy the training images to the device, unless they are there; release the others.

        Raises:
            NotOnDeviceError: they would take more than a quarter of the device's free memory.
        """
        if self._held is None or self._cache is not cache or self._device != device:
            self._held = None
            release_memory()  # of the images before: the free memory is measured now
            self._held, self._cache, self._device = copy_images(cache, device), cache, device
        return self._held


def copy_images(cache: ImageCache, device: torch.device) -> DeviceImages:
    """Copy the training images of a cache. Raises NotOnDeviceError as `DeviceImageStore.load`."""
    n = len(cache.train)
    n_bytes = n * sum(int(np.prod(array.shape[1:])) for array in (cache.images, cache.masks))
    too_large = NotOnDeviceError(
        f"the training images need {n_bytes / 1e6:,.0f} MB, more than "
        f"{MAX_MEMORY_SHARE:.0%} of the free memory of {device}"
    )
    if n_bytes > MAX_MEMORY_SHARE * free_memory_bytes(device):
        raise too_large
    try:
        images, masks = (
            _copy_rows(array, cache.train, device) for array in (cache.images, cache.masks)
        )
    except Exception as error:
        if is_out_of_memory(error):  # another process has taken it meanwhile
            raise too_large from error
        raise
    return DeviceImages(images, masks, cache.train)


def _copy_rows(
    array: NDArray[Any] | PackedArray, rows: NDArray[np.int64], device: torch.device
) -> Tensor:
    """Copy in chunks, so that the host never holds all images decoded."""
    copies = torch.empty((len(rows), *array.shape[1:]), dtype=torch.uint8, device=device)
    for first in range(0, len(rows), _CHUNK):
        chunk = array[rows[first : first + _CHUNK]]
        copies[first : first + len(chunk)] = to_device(chunk, device)
    return copies
