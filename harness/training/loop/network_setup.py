"""Network of a training: built on its device in its fastest form; one of a user is checked."""

import torch
from torch import nn

from harness.config.components import get_components
from harness.config.data import StudyDataConfig
from harness.config.study import TrialConfig
from harness.core.errors import ConfigError
from harness.models.build import build_network
from harness.training.hardware.device import keep_depthwise_in_fp32
from harness.training.hardware.device_facts import Precision
from harness.training.optim.optimizer import record_frozen_weights

CHANNELS_LAST_OVERRUN_ENCODERS = ("mobileone", "tu-mobileone", "tu-repvgg")
_NOISE_SCALES = (1.0, 30.0)  # of the inputs: outputs of a sigmoid stay in [0, 1] for both


def build_trained_network(
    config: TrialConfig,
    data: StudyDataConfig,
    device: torch.device,
    precision: Precision,
    *,
    pretrained: bool,
) -> nn.Module:
    """Build the network on its device, as it will be trained.

    Args:
        pretrained: False where weights will be loaded afterwards, or do not matter.

    Raises:
        ConfigError: a user-defined network returns probabilities.
        WeightsError: pretrained weights that are not in the local cache.
    """
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
    return network


def to_fastest_memory_format(network: nn.Module, encoder_name: str) -> nn.Module:
    """Bring a network into channels-last order, which is 30 % faster.

    On the CPU torch 2.15 overruns a buffer if MobileOne or RepVGG is trained in that order; these
    get a hook that makes their inputs contiguous.
    """
    device = next(network.parameters()).device.type
    if device == "cpu" and encoder_name.startswith(CHANNELS_LAST_OVERRUN_ENCODERS):
        network.register_forward_pre_hook(_contiguous_inputs)
        return network
    return network if device == "mps" else network.to(memory_format=torch.channels_last)


def _contiguous_inputs(_: nn.Module, images: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(image.contiguous() for image in images)


def check_outputs_are_logits(
    network: nn.Module, name: str, channels: int, size: tuple[int, int]
) -> None:
    """Refuse a network whose outputs are probabilities already.

    It is evaluated on noise of two strengths. After a sigmoid or softmax every output lies in
    [0, 1]; outputs of an untrained last layer lie on both sides of 0. Outputs that are all 0 (a
    last layer that starts at 0) are accepted.

    Args:
        name: name of the architecture.
        size: height and width of the noise.

    Raises:
        ConfigError: all outputs lie in [0, 1].
    """
    parameter = next(network.parameters(), torch.zeros(1))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((2, channels, *size), generator=generator)
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            outputs = [
                network((scale * noise).to(parameter.device, parameter.dtype)).float()
                for scale in _NOISE_SCALES
            ]
    finally:
        network.train(was_training)
    are_in_unit_interval = all(bool(((a >= 0) & (a <= 1)).all()) for a in outputs)
    if are_in_unit_interval and any(bool(a.any()) for a in outputs):
        raise ConfigError(
            f"model.arch: all outputs of {name} lie in [0, 1], as after a sigmoid or softmax; "
            "remove that layer: losses and metrics expect logits and apply it themselves"
        )
