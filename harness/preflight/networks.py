"""What decides whether a network can be built: a small key for each that a space can draw."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.config import ModelConfig, TrialConfig
from harness.data.splits import subset_size
from harness.data_config import StudyDataConfig
from harness.models.registry import idle_keys


@dataclass(frozen=True, order=True)
class Network:
    """A network and the size of what it sees. Weights do not change shapes and are left out.

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
        """The same as a configuration, with random weights."""
        return ModelConfig(
            arch=self.arch,
            encoder_name=self.encoder_name,
            encoder_depth=self.encoder_depth,
            encoder_weights=None,
            options=json.loads(self.options),
        )

    @property
    def name(self) -> str:
        """In a few words, e.g. `FPN resnet18 depth 4, 256 x 256 px, decoder_dropout 0.1`."""
        height, width = self.height_width
        options = [f", {key} {value}" for key, value in json.loads(self.options).items()]
        takes = "model.encoder_name" not in idle_keys(self.arch)
        encoder = f" {self.encoder_name}" if takes else ""
        shown = f"{self.arch}{encoder} depth {self.encoder_depth}, {height} x {width} px"
        return shown + "".join(options)


@dataclass(frozen=True)
class Setting:
    """What all trials of a study share.

    Attributes:
        n_train: training images; None: not known yet.
    """

    classes: int = 1
    channels: int = 3
    n_train: int | None = None

    @classmethod
    def of(cls, data: StudyDataConfig, n_train: int | None = None) -> "Setting":
        """From a study's data."""
        return cls(data.n_outputs, data.channels, n_train)

    def alone(self, config: TrialConfig) -> bool:
        """Whether some batch of a training holds a single image.

        A last batch of one is dropped unless it is the only one (`data.batches.TrainBatches`).
        """
        if config.train.batch_size == 1:
            return True
        if self.n_train is None:
            return False
        return subset_size(self.n_train, config.data.subset) == 1


def network_of(config: TrialConfig) -> Network:
    """The network of a trial configuration; what does not act on it takes its default."""
    model, plain = config.model, ModelConfig()
    idle = idle_keys(model.arch)
    name = plain.encoder_name if "model.encoder_name" in idle else model.encoder_name
    depth = plain.encoder_depth if "model.encoder_depth" in idle else model.encoder_depth
    options = json.dumps(model.options, sort_keys=True)
    return Network(model.arch, name, depth, options, config.data.height_width)


class Pretrained(NamedTuple):
    """An encoder and the name of the weights that it begins with."""

    encoder_name: str
    weights: str


def pretrained_of(config: TrialConfig) -> Pretrained | None:
    """The pretrained weights that a trial begins with; None: random ones."""
    model = config.model
    if model.encoder_weights is None or "model.encoder_weights" in idle_keys(model.arch):
        return None
    return Pretrained(model.encoder_name, model.encoder_weights)


def shaping(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings, by full key, that decide about a network."""
    return {key: value for key, value in values.items() if shapes(key)}


def shapes(key: str) -> bool:
    """Whether a setting decides about a network."""
    return key.startswith("model.") or key in BESIDE_MODEL


BESIDE_MODEL = ("data.image_size", "train.batch_size", "data.subset")
