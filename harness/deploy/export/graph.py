"""The exported computation: normalisation, network, and sigmoid or softmax, as one module."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.config.data import StudyDataConfig
from harness.config.study import TrialConfig
from harness.evaluation.held_out.weights import TrialWeights
from harness.models.serialization import load_network
from harness.training.hardware.normalizer import ImageNormalizer, build_normalizer

INPUT_NAMES = ("image", "content")
OUTPUT_NAMES = ("logits", "probabilities")


class ExportedNetwork(nn.Module):
    """Network that takes images as stored and returns logits and probabilities.

    Args:
        network: maps normalised images to logits of the same size.
        normalizer: that of the training of the network.
        data: task, bits and value range of the images.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, normalizer: ImageNormalizer, data: StudyDataConfig
    ) -> None:
        super().__init__()
        self.network = network
        self._normalizer, self._is_deep = normalizer, data.bit_depth == 16
        self.is_exclusive = data.task == "multiclass"
        # Buffers, as constants that are made while a graph is recorded would not be part of it.
        for name, values in (("mean", normalizer.mean), ("std", normalizer.std)):
            buffer = None if values is None else torch.tensor(values).view(1, -1, 1, 1)
            self.register_buffer(name, buffer)

    def forward(self, image: Tensor, content: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute logits and probabilities (N, K, H, W).

        Args:
            image: float32 (N, C, H, W), stored values, resized or padded with 0.
            content: float32 (N, 1, H, W), 1 where the image is and 0 at padding; None: no padding.
        """
        logits = self.network(self._normalize(image, content)).float()
        return logits, logits.softmax(dim=1) if self.is_exclusive else logits.sigmoid()

    def _normalize(self, image: Tensor, content: Tensor | None) -> Tensor:
        low, high = self._normalizer.range
        pixels = image / high if low == 0 else (image - low) / (high - low)
        if self._is_deep:
            pixels = pixels.clamp(0.0, 1.0)
        if self._normalizer.is_per_image:
            region = None if content is None else content.squeeze(1) > 0.5
            return self._normalizer.standardize_per_image(pixels, region)
        return (pixels - self.mean) / self.std


@dataclass(frozen=True)
class GraphSource:
    """The module to export, with the inputs that it is recorded with.

    Attributes:
        name: architecture and encoder, for messages.
        size: height and width of the network's images.
        takes_content: True if the graph has the input `content`.
    """

    module: ExportedNetwork
    name: str
    size: tuple[int, int]
    channels: int
    takes_content: bool

    def example_inputs(self, n: int = 2, size: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        """Random images of `n` in a batch, with content that does not fill them."""
        height, width = size or self.size
        # 2, since torch.export takes a size of 1 for a constant.
        image = torch.rand(n, self.channels, height, width) * 255
        if not self.takes_content:
            return (image,)
        content = torch.ones(n, 1, height, width)
        content[..., height // 2 :, :] = 0
        return image * content, content


def build_graph_source(weights: TrialWeights, data: StudyDataConfig) -> GraphSource:
    """Load a trial's network and put its normalisation before it; on the CPU, in evaluation mode.

    Raises:
        ConfigError: the folder of the weights holds no saved network.
    """
    config: TrialConfig = weights.config
    normalizer = build_normalizer(config, data)
    module = ExportedNetwork(load_network(weights.paths.model), normalizer, data)
    module.eval().requires_grad_(False)
    model = config.model
    name = f"{model.arch} with {model.encoder_name}"
    takes_content = normalizer.is_per_image and config.data.whole_fit != "stretch"
    return GraphSource(module, name, config.data.height_width, data.channels, takes_content)
