"""Key of a network: the settings that decide if it can be built.

Importing this file does not import torch: the controller of a cluster runs without it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.config.data import StudyDataConfig
from harness.config.study import ModelConfig, TrialConfig
from harness.data.splits.splits import subset_size


@dataclass(frozen=True, order=True)
class NetworkKey:
    """Network and size of its input. Weights do not change shapes and are left out.

    Attributes:
        options: `model.options` as JSON, keys sorted.
        height_width: pixels.
    """

    arch: str
    encoder_name: str
    encoder_depth: int
    options: str
    height_width: tuple[int, int]

    @property
    def model(self) -> ModelConfig:
        """Configuration of the network, with random weights."""
        return ModelConfig(
            arch=self.arch,
            encoder_name=self.encoder_name,
            encoder_depth=self.encoder_depth,
            encoder_weights=None,
            options=json.loads(self.options),
        )

    @property
    def name(self) -> str:
        """Short description, e.g. `FPN resnet18 depth 4, 256 x 256 px, decoder_dropout 0.1`."""
        from harness.models.registry import takes_encoder  # noqa: PLC0415  # imports torch

        height, width = self.height_width
        options = [f", {key} {value}" for key, value in json.loads(self.options).items()]
        encoder = f" {self.encoder_name}" if takes_encoder(self.arch) else ""
        label = f"{self.arch}{encoder} depth {self.encoder_depth}, {height} x {width} px"
        return label + "".join(options)


@dataclass(frozen=True)
class PreflightSetting:
    """Settings that all trials of a study share.

    Attributes:
        n_train: number of training images; None: not known yet.
    """

    classes: int = 1
    channels: int = 3
    n_train: int | None = None

    @classmethod
    def from_data(cls, data: StudyDataConfig, n_train: int | None = None) -> "PreflightSetting":
        """Derive the settings from a study's data."""
        return cls(data.n_outputs, data.channels, n_train)

    def has_single_image_batch(self, config: TrialConfig) -> bool:
        """True if some training batch holds a single image.

        A last batch of one is dropped unless it is the only one (`TrainBatches.__len__`).
        """
        if config.train.batch_size == 1:
            return True
        if self.n_train is None or config.data.tile.size is not None:  # windows are not known yet
            return False
        return subset_size(self.n_train, config.data.subset) == 1


def network_key_of(config: TrialConfig) -> NetworkKey:
    """Network of a trial configuration; settings without effect have their default."""
    from harness.models.registry import inactive_keys  # noqa: PLC0415  # imports torch

    model, defaults = config.model, ModelConfig()
    idle = inactive_keys(model.arch)
    name = defaults.encoder_name if "model.encoder_name" in idle else model.encoder_name
    depth = defaults.encoder_depth if "model.encoder_depth" in idle else model.encoder_depth
    # As text, since a key must be hashable and options may hold lists such as decoder_channels.
    options = json.dumps(model.options, sort_keys=True)
    return NetworkKey(model.arch, name, depth, options, config.data.height_width)


class PretrainedEncoder(NamedTuple):
    """Encoder and the name of its pretrained weights."""

    encoder_name: str
    weights: str


def pretrained_encoder_of(config: TrialConfig) -> PretrainedEncoder | None:
    """Pretrained weights at the start of a trial; None: random weights."""
    from harness.models.registry import takes_encoder  # noqa: PLC0415  # imports torch

    model = config.model
    if model.encoder_weights is None or not takes_encoder(model.arch):
        return None
    return PretrainedEncoder(model.encoder_name, model.encoder_weights)


def select_network_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Select the settings, by full key, that shape the network."""
    return {key: value for key, value in values.items() if affects_network(key)}


def affects_network(key: str) -> bool:
    """True if a setting, by full key, shapes the network."""
    return key.startswith("model.") or key in NETWORK_KEYS_OUTSIDE_MODEL


NETWORK_KEYS_OUTSIDE_MODEL = (
    "data.image_size",
    "data.tile.size",
    "train.batch_size",
    "data.subset",
)
