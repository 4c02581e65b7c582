"""Everything a training stands on, made from its configuration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.config.components import Component, get_components
from harness.config.study import TrialConfig
from harness.core.errors import DataError
from harness.core.paths import TrialPaths
from harness.core.plurals import count
from harness.data.loading.augment import build_augmentation
from harness.data.loading.batches import TrainBatches, subset_indices
from harness.data.loading.image_cache import ImageCache
from harness.models.build import build_network
from harness.training.hardware.batch_splitting import MicroBatcher, retry_on_oom
from harness.training.hardware.buffer_snapshot import BufferSnapshot
from harness.training.hardware.cost import count_parameters, measure_forward_gflops
from harness.training.hardware.cpu_bf16 import keep_depthwise_in_fp32
from harness.training.hardware.device import Precision
from harness.training.hardware.normalizer import ImageNormalizer, build_normalizer
from harness.training.loop import artifacts
from harness.training.loop.trainer import Trainer, epoch_seed
from harness.training.loss.class_weights import resolve_class_weights
from harness.training.loss.output_check import check_outputs_are_logits
from harness.training.metrics.validation import ValidationResult, validate_network
from harness.training.optim.optimizer import record_frozen_weights

# Without gradients four times as many images take less memory than a training batch.
VALIDATION_BATCH_FACTORS = {"cuda": 4}  # batches; on the CPU more at once gains nothing


@dataclass(frozen=True)
class TrainingSetup:
    """A trainer with its data, and what is known before the first step.

    Attributes:
        validation_batcher: how many images are validated at once.
        gflops: 10^9 operations of one image's forward pass.
        metrics: of the user's own, computed in every epoch.
        class_weights: by class, where they were worked out from the training masks.
    """

    trainer: Trainer
    images: ImageCache
    names: Mapping[int, str]
    paths: TrialPaths
    normalizer: ImageNormalizer
    device: torch.device
    validation_batcher: MicroBatcher
    epochs: int
    seed: int
    n_parameters: int
    gflops: float
    metrics: Sequence[Component]
    class_weights: dict[str, float]

    def validate_images(
        self,
        indices: NDArray[np.int64],
        *,
        keep_indices: Sequence[int] | NDArray[np.integer] = (),
        metrics: Sequence[Component] = (),
        should_stop: Callable[[], bool] = lambda: False,
    ) -> ValidationResult:
        """Score the weights as they stand; probabilities of the images `keep_indices` are kept."""
        snapshot = retry_on_oom(lambda: BufferSnapshot(self.trainer.eval_model, self.device))
        return self.validation_batcher.run(
            lambda at_once: validate_network(
                self.trainer.eval_model,
                self.images,
                indices,
                names=self.names,
                device=self.device,
                normalizer=self.normalizer,
                batch_size=at_once,
                keep_indices=keep_indices,
                metrics=metrics,
                should_stop=should_stop,
            ),
            undo=snapshot.restore,
        )

    def validate_epoch(self, epoch: int, should_stop: Callable[[], bool]) -> ValidationResult:
        """Score all validation images; what `write_overlays` needs is kept."""
        overlay_indices = (
            artifacts.overlay_indices(self.images) if self._has_overlays(epoch) else ()
        )
        return self.validate_images(
            self.images.val,
            keep_indices=overlay_indices,
            metrics=self.metrics,
            should_stop=should_stop,
        )

    def write_overlays(self, epoch: int, validation: ValidationResult) -> None:
        """Draw two of the validation images, in four of the epochs."""
        if self._has_overlays(epoch):
            artifacts.write_overlays(
                self.paths, epoch, self.images, validation.probabilities, validation.decisions
            )

    def _has_overlays(self, epoch: int) -> bool:
        return epoch in artifacts.overlay_epochs(self.epochs)


def prepare_training(
    config: TrialConfig,
    images: ImageCache,
    names: Mapping[int, str],
    paths: TrialPaths,
    *,
    seed: int,
    device: torch.device,
    precision: Precision,
    pretrained: bool,
    augments: Path | None,
    metrics: Sequence[Component] = (),
    micro_batcher: MicroBatcher | None = None,
) -> TrainingSetup:
    """Build network, optimiser and batches; nothing is written.

    Args:
        augments: where files of augmentation steps lie.
        pretrained: False where weights will be loaded afterwards: then none need be cached.
        metrics: of the user's own, to be computed in every epoch.
        micro_batcher: how many images are trained on at once; None: whole batches.

    Raises:
        ConfigError, WeightsError, DataError: see `harness.training.loop.fit.fit`.
    """
    _require_images(images)
    data = images.data
    config, class_weights = resolve_class_weights(config, images)
    torch.backends.cudnn.benchmark = True  # all batches of a trial have one size
    torch.manual_seed(epoch_seed(seed, 0))
    network = build_network(
        config.model,
        classes=data.n_outputs,
        in_channels=data.channels,
        pretrained=pretrained,
        image_size=config.data.height_width,
    ).to(device)
    record_frozen_weights(network)  # before anything else sets its mode
    network = to_fastest_memory_format(network, config.model.encoder_name)
    if device.type == "cpu" and precision == "bf16":
        keep_depthwise_in_fp32(network)
    part = get_components("network").get(config.model.arch)
    if part is not None and not part.is_builtin:
        check_outputs_are_logits(network, part.name, data.channels, config.data.height_width)
    gflops = measure_forward_gflops(network, config.data.height_width, data.channels)
    normalizer = build_normalizer(config, data)
    trainer = Trainer(
        network,
        config,
        _build_train_batches(config, images, augments, seed),
        normalizer,
        data=data,
        seed=seed,
        device=device,
        precision=precision,
        micro_batcher=micro_batcher,
    )
    return TrainingSetup(
        trainer=trainer,
        images=images,
        names=names,
        paths=paths,
        normalizer=normalizer,
        device=device,
        validation_batcher=MicroBatcher(
            config.train.batch_size * VALIDATION_BATCH_FACTORS.get(device.type, 1)
        ),
        epochs=config.train.epochs,
        seed=seed,
        n_parameters=count_parameters(network),
        gflops=gflops,
        metrics=metrics,
        class_weights=class_weights,
    )


CHANNELS_LAST_OVERRUN_ENCODERS = ("mobileone", "tu-mobileone", "tu-repvgg")


def to_fastest_memory_format(network: nn.Module, encoder_name: str) -> nn.Module:
    """The network in the order of memory that is fastest for it: channels last, 30 % faster.

    On the CPU PyTorch (2.15) overruns a buffer when MobileOne or RepVGG is trained so.
    """
    device = next(network.parameters()).device.type
    if device == "cpu" and encoder_name.startswith(CHANNELS_LAST_OVERRUN_ENCODERS):
        network.register_forward_pre_hook(_contiguous_inputs)
        return network
    return network if device == "mps" else network.to(memory_format=torch.channels_last)


def _contiguous_inputs(_: nn.Module, images: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(image.contiguous() for image in images)


def _require_images(images: ImageCache) -> None:
    n_foreground = len(artifacts.foreground_indices(images))
    if not len(images.train) or not n_foreground:
        raise DataError(
            f"{count(len(images.train), 'training image')}, and "
            f"{count(len(images.val), 'validation image')} of "
            f"which {n_foreground} have anything to find: at least one of each is needed to train "
            "and "
            "to measure; change the split"
        )


def _build_train_batches(
    config: TrialConfig, images: ImageCache, augments: Path | None, seed: int
) -> TrainBatches:
    data = images.data
    augment = build_augmentation(config.data.augment, folder=augments, data=data)
    return TrainBatches(
        images.images,
        images.masks,
        subset_indices(images.train, config.data.subset),
        config.train.batch_size,
        augment,
        seed,
        data.range,
        boxes=images.boxes if config.data.normalize == "per_image" else None,
    )
