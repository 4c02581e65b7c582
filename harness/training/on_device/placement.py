"""Placement of the training images of a trial on its device, and batches from there.

Never run on a GPU yet; tested on torch's CPU tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.config.study import TrialConfig
from harness.data.loading.augment import AllowedMaskValues, load_steps
from harness.data.loading.augment_draws import AugmentationDraws, fill_values, unsupported_step
from harness.data.loading.epoch_order import EpochOrder
from harness.data.loading.image_cache import ImageCache
from harness.training.on_device.device_batches import DeviceBatches
from harness.training.on_device.device_images import DeviceImageStore, NotOnDeviceError


@dataclass(frozen=True)
class DevicePlacement:
    """Builds the batches of a trial on its device, as far as that is possible.

    Attributes:
        store: keeps the images from trial to trial.
        say: receives the sentence if the batches are made on the CPU after all.
    """

    store: DeviceImageStore
    device: torch.device
    say: Callable[[str], None]

    def build_batches(
        self,
        config: TrialConfig,
        images: ImageCache,
        order: EpochOrder,
        augments: Path | None,
        seed: int,
    ) -> DeviceBatches | None:
        """Build the batches; None: they are made on the CPU, and `say` has received the reason.

        Args:
            order: draws of each epoch, among the training images.
            augments: folder of the files that `data.augment` may name.
        """
        try:
            draws = self._augmentation_draws(config, images, augments)
            data = self.store.load(images, self.device)
        except NotOnDeviceError as reason:
            self.say(f"--data-on-device: {reason}; batches are made on the CPU")
            return None
        boxes = images.boxes if config.data.normalize == "per_image" else None
        return DeviceBatches(data, draws, order, config.train.batch_size, seed, boxes)

    def _augmentation_draws(
        self, config: TrialConfig, images: ImageCache, augments: Path | None
    ) -> AugmentationDraws:
        """The draws of the trial's augmentation. Raises NotOnDeviceError, see `build_batches`."""
        data, name = images.data, config.data.augment
        if self.device.type not in ("cuda", "cpu"):
            raise NotOnDeviceError(f"not supported on {self.device.type}")
        if config.data.tile.size is not None:
            raise NotOnDeviceError("tiles are read from images at their own size")
        if data.bit_depth == 16:
            raise NotOnDeviceError("images of 16 bits are augmented on the CPU alone")
        steps, p = load_steps(name, augments, data)
        if (step := unsupported_step(steps, data.channels)) is not None:
            raise NotOnDeviceError(f"{step} of data.augment {name} works on the CPU alone")
        if not fill_values(steps) <= set(AllowedMaskValues(data).allowed):
            raise NotOnDeviceError(f"data.augment {name} fills masks with a value of no class")
        return AugmentationDraws(steps, p, images.images.shape[1:])
