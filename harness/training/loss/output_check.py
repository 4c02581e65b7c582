"""Whether a network of the user's own gives logits: losses and metrics apply their own function."""

import torch
from torch import nn

from harness.core.errors import ConfigError

_NOISE_SCALES = (1.0, 30.0)  # of the inputs: what a sigmoid or softmax gives stays where it is


def check_outputs_are_logits(
    network: nn.Module, name: str, channels: int, size: tuple[int, int]
) -> None:
    """Refuse a network whose answers are probabilities already.

    It is asked about noise of two strengths, in evaluation mode, which is left as it was. After a
    sigmoid or softmax every answer lies in [0, 1]; those of an untrained last layer lie on both
    sides of 0. Answers that are 0 throughout (a last layer that begins at 0) are no probabilities.

    Args:
        name: of the architecture.
        size: height and width of the noise.

    Raises:
        ConfigError: all answers lie in [0, 1].
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
            f"model.arch: {name} answers with numbers in [0, 1] whatever it is shown, as after a "
            "sigmoid or softmax; take that away: losses and metrics are given logits and apply "
            "their own"
        )
