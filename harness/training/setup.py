"""Everything a training stands on, made from its configuration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.config import TrialConfig
from harness.data.augment import build_augment
from harness.data.batches import TrainBatches, subset_indices
from harness.data.cache import ImageCache
from harness.errors import DataError
from harness.models.build import build_network
from harness.parts import Part, registered
from harness.paths import TrialPaths
from harness.training import artifacts
from harness.training.arithmetic import keep_fast
from harness.training.class_weights import with_numbers
from harness.training.cost import count_parameters, forward_gflops
from harness.training.device import Precision
from harness.training.logits import check_logits
from harness.training.memory import Memory, retried
from harness.training.normalise import Normalise, build_normalise
from harness.training.optim import note_frozen
from harness.training.snapshot import Snapshot
from harness.training.trainer import Trainer, epoch_seed
from harness.training.validate import Validation, validate
from harness.wording import count

# Without gradients four times as many images take less memory than a training batch.
VALIDATED_AT_ONCE = {"cuda": 4}  # batches; on the CPU more at once gains nothing


@dataclass(frozen=True)
class Setup:
    """A trainer with its data, and what is known before the first step.

    Attributes:
        memory: how many images are validated at once.
        gflops: 10^9 operations of one image's forward pass.
        metrics: of the user's own, computed in every epoch.
        class_weights: by class, where they were worked out from the training masks.
    """

    trainer: Trainer
    images: ImageCache
    names: Mapping[int, str]
    paths: TrialPaths
    normalise: Normalise
    device: torch.device
    memory: Memory
    epochs: int
    seed: int
    n_parameters: int
    gflops: float
    metrics: Sequence[Part]
    class_weights: dict[str, float]

    def validate(
        self,
        indices: NDArray[np.int64],
        *,
        keep: Sequence[int] | NDArray[np.integer] = (),
        metrics: Sequence[Part] = (),
        halt: Callable[[], bool] = lambda: False,
    ) -> Validation:
        """Score the weights as they stand; probabilities of the images `keep` are kept."""
        before = retried(lambda: Snapshot(self.trainer.judged, self.device))
        return self.memory.fit(
            lambda at_once: validate(
                self.trainer.judged,
                self.images,
                indices,
                names=self.names,
                device=self.device,
                normalise=self.normalise,
                batch_size=at_once,
                keep=keep,
                metrics=metrics,
                halt=halt,
            ),
            undo=before.restore,
        )

    def validate_epoch(self, epoch: int, halt: Callable[[], bool]) -> Validation:
        """Score all validation images; what `draw` needs is kept."""
        shown = artifacts.overlay_indices(self.images) if self._is_drawn(epoch) else ()
        return self.validate(self.images.val, keep=shown, metrics=self.metrics, halt=halt)

    def draw(self, epoch: int, validation: Validation) -> None:
        """Draw two of the validation images, in four of the epochs."""
        if self._is_drawn(epoch):
            artifacts.write_overlays(
                self.paths, epoch, self.images, validation.probabilities, validation.decisions
            )

    def _is_drawn(self, epoch: int) -> bool:
        return epoch in artifacts.overlay_epochs(self.epochs)


def prepare(
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
    metrics: Sequence[Part] = (),
    memory: Memory | None = None,
) -> Setup:
    """Build network, optimiser and batches; nothing is written.

    Args:
        augments: where files of augmentation steps lie.
        pretrained: False where weights will be loaded afterwards: then none need be cached.
        metrics: of the user's own, to be computed in every epoch.
        memory: how many images are trained on at once; None: whole batches.

    Raises:
        ConfigError, WeightsError, DataError: see `harness.training.fit.fit`.
    """
    _require_images(images)
    data = images.data
    config, class_weights = with_numbers(config, images)
    torch.backends.cudnn.benchmark = True  # all batches of a trial have one size
    torch.manual_seed(epoch_seed(seed, 0))
    network = build_network(
        config.model,
        classes=data.n_outputs,
        in_channels=data.channels,
        pretrained=pretrained,
        image_size=config.data.height_width,
    ).to(device)
    note_frozen(network)  # before anything else sets its mode
    network = laid_out(network, config.model.encoder_name)
    if device.type == "cpu" and precision == "bf16":
        keep_fast(network)
    part = registered("network").get(config.model.arch)
    if part is not None and not part.is_ours:
        check_logits(network, part.name, data.channels, config.data.height_width)
    gflops = forward_gflops(network, config.data.height_width, data.channels)
    normalise = build_normalise(config, data)
    trainer = Trainer(
        network,
        config,
        _batches(config, images, augments, seed),
        normalise,
        data=data,
        seed=seed,
        device=device,
        precision=precision,
        memory=memory,
    )
    return Setup(
        trainer=trainer,
        images=images,
        names=names,
        paths=paths,
        normalise=normalise,
        device=device,
        memory=Memory(config.train.batch_size * VALIDATED_AT_ONCE.get(device.type, 1)),
        epochs=config.train.epochs,
        seed=seed,
        n_parameters=count_parameters(network),
        gflops=gflops,
        metrics=metrics,
        class_weights=class_weights,
    )


OVERRUN = ("mobileone", "tu-mobileone", "tu-repvgg")


def laid_out(network: nn.Module, encoder_name: str) -> nn.Module:
    """The network in the order of memory that is fastest for it: channels last, 30 % faster.

    On the CPU PyTorch (2.15) overruns a buffer when MobileOne or RepVGG is trained so.
    """
    device = next(network.parameters()).device.type
    if device == "cpu" and encoder_name.startswith(OVERRUN):
        network.register_forward_pre_hook(_contiguous)
        return network
    return network if device == "mps" else network.to(memory_format=torch.channels_last)


def _contiguous(_: nn.Module, images: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(image.contiguous() for image in images)


def _require_images(images: ImageCache) -> None:
    n_found = len(artifacts.found_indices(images))
    if not len(images.train) or not n_found:
        raise DataError(
            f"{count(len(images.train), 'training image')}, and "
            f"{count(len(images.val), 'validation image')} of "
            f"which {n_found} have anything to find: at least one of each is needed to train and "
            "to measure; change the split"
        )


def _batches(
    config: TrialConfig, images: ImageCache, augments: Path | None, seed: int
) -> TrainBatches:
    data = images.data
    augment = build_augment(config.data.augment, folder=augments, data=data)
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
