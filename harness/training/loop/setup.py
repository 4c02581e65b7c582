"""Setup of a training: network, batches, optimiser and checks, built from its inputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from harness.config.component_interface import Component
from harness.config.study import TrialConfig
from harness.core.errors import DataError
from harness.core.paths import TrialPaths
from harness.core.text import count
from harness.data.loading.image_cache import ImageCache
from harness.data.windows.window import WindowSource
from harness.training.hardware.batch_splitting import MicroBatcher, retry_on_oom
from harness.training.hardware.buffer_snapshot import BufferSnapshot
from harness.training.hardware.cost import count_parameters, measure_forward_gflops
from harness.training.hardware.device_facts import Precision
from harness.training.hardware.normalizer import ImageNormalizer, build_normalizer
from harness.training.loop import artifacts
from harness.training.loop.image_setup import (
    build_train_batches,
    check_scoring,
    count_masks,
    native_images,
)
from harness.training.loop.network_setup import build_trained_network
from harness.training.loop.trainer import Trainer, epoch_seed
from harness.training.loss.combined_loss import resolve_class_weights
from harness.training.metrics.native_validation import validate_native
from harness.training.metrics.validation import ValidationResult, validate_network
from harness.training.on_device.placement import DevicePlacement

# Without gradients four times as many images need less memory than a training batch. On the CPU
# larger batches are not faster.
VALIDATION_BATCH_FACTORS = {"cuda": 4}


@dataclass(frozen=True)
class TrainingInputs:
    """Inputs of one training.

    Attributes:
        config: the trial's configuration.
        images: training and validation images, at the size of the network's input.
        names: image names by row of split.csv.
        paths: the trial's folder.
        seed: of weights, batches, augmentation and dropout.
        device: where to train.
        precision: arithmetic of the training; validation is always fp32.
        augments: the folder of the files that `data.augment` may name.
        shares_gpu: another worker trains on the same GPU at the same time.
        windows: `images` at their own sizes; needed for tiles and for metrics at native size.
        on_device: makes batches on the device where it can; None: they are made on the CPU.
    """

    config: TrialConfig
    images: ImageCache
    names: Mapping[int, str]
    paths: TrialPaths
    seed: int
    device: torch.device
    precision: Precision
    augments: Path | None = None
    shares_gpu: bool = False
    windows: WindowSource | None = None
    on_device: DevicePlacement | None = None


@dataclass(frozen=True)
class TrainingSetup:
    """A trainer with its inputs, and the facts that are known before the first step.

    Attributes:
        validation_batcher: number of images that are validated together.
        gflops: 10^9 operations of one image's forward pass.
        metrics: user-defined metrics, computed in every epoch.
        class_weights: by class, where they were computed from the training masks.
        draws: images or windows of an epoch; None: each training image once.
    """

    inputs: TrainingInputs
    trainer: Trainer
    normalizer: ImageNormalizer
    validation_batcher: MicroBatcher
    n_parameters: int
    gflops: float
    metrics: Sequence[Component]
    class_weights: dict[str, float]
    draws: int | None

    def validate_images(
        self,
        indices: NDArray[np.int64],
        *,
        keep_indices: Sequence[int] | NDArray[np.integer] = (),
        metrics: Sequence[Component] = (),
        should_stop: Callable[[], bool] = lambda: False,
    ) -> ValidationResult:
        """Score the present weights, and keep the probabilities of the images `keep_indices`."""
        snapshot = retry_on_oom(lambda: BufferSnapshot(self.trainer.eval_model, self.inputs.device))
        inputs = self.inputs
        native = native_images(inputs.config, inputs.images, inputs.windows)
        validate = (
            partial(validate_network, self.trainer.eval_model, inputs.images, indices)
            if native is None
            else partial(validate_native, self.trainer.eval_model, native, indices)
        )
        return self.validation_batcher.run(
            lambda at_once: validate(
                names=self.inputs.names,
                device=self.inputs.device,
                normalizer=self.normalizer,
                batch_size=at_once,
                keep_indices=keep_indices,
                metrics=metrics,
                should_stop=should_stop,
            ),
            undo=snapshot.restore,
        )

    def validate_epoch(self, epoch: int, should_stop: Callable[[], bool]) -> ValidationResult:
        """Score all validation images, and keep the probabilities for `write_overlays`."""
        indices = artifacts.overlay_indices(self.inputs.images) if self._has_overlays(epoch) else ()
        return self.validate_images(
            self.inputs.images.val,
            keep_indices=indices,
            metrics=self.metrics,
            should_stop=should_stop,
        )

    def write_overlays(self, epoch: int, validation: ValidationResult) -> None:
        """Draw two of the validation images, in four epochs of a training."""
        if self._has_overlays(epoch):
            artifacts.write_overlays(
                self.inputs.paths,
                epoch,
                self.inputs.images,
                validation.probabilities,
                validation.decisions,
            )

    def _has_overlays(self, epoch: int) -> bool:
        return epoch in artifacts.overlay_epochs(self.inputs.config.train.epochs)


def prepare_training(
    inputs: TrainingInputs,
    *,
    pretrained: bool,
    metrics: Sequence[Component] = (),
    micro_batcher: MicroBatcher | None = None,
) -> TrainingSetup:
    """Build network, optimiser and batches; nothing is written.

    Args:
        pretrained: False where weights will be loaded afterwards: then none need be cached.
        metrics: user-defined metrics to be computed in every epoch.
        micro_batcher: number of images that are trained on together; None: whole batches.

    Raises:
        ConfigError, WeightsError, DataError: see `harness.training.loop.fit.fit_trial`.
    """
    images, data, device = inputs.images, inputs.images.data, inputs.device
    _require_images(images)
    check_scoring(inputs.config, images, inputs.windows)
    config, class_weights = resolve_class_weights(
        inputs.config,
        data,
        lambda: count_masks(inputs.config, images, inputs.windows, images.train),
    )
    torch.backends.cudnn.benchmark = True  # all batches of a trial have one size
    torch.manual_seed(epoch_seed(inputs.seed, 0))
    network = build_trained_network(
        inputs.config, data, device, inputs.precision, pretrained=pretrained
    )
    gflops = measure_forward_gflops(network, config.data.height_width, data.channels)
    normalizer = build_normalizer(config, data)
    batches = build_train_batches(
        config, images, inputs.windows, inputs.augments, inputs.seed, inputs.on_device
    )
    trainer = Trainer(
        network,
        config,
        batches,
        normalizer,
        data=data,
        seed=inputs.seed,
        device=device,
        precision=inputs.precision,
        micro_batcher=micro_batcher,
    )
    n_validated = config.train.batch_size * VALIDATION_BATCH_FACTORS.get(device.type, 1)
    return TrainingSetup(
        inputs=inputs,
        trainer=trainer,
        normalizer=normalizer,
        validation_batcher=MicroBatcher(n_validated),
        n_parameters=count_parameters(network),
        gflops=gflops,
        metrics=metrics,
        class_weights=class_weights,
        draws=None if batches.n_draws == batches.n_images else batches.n_draws,
    )


def _require_images(images: ImageCache) -> None:
    n_foreground = len(artifacts.foreground_indices(images))
    if not len(images.train) or not n_foreground:
        raise DataError(
            f"{count(len(images.train), 'training image')}, and "
            f"{count(len(images.val), 'validation image')} of which {n_foreground} have any "
            "foreground: training and validation need at least one each; change the split"
        )
