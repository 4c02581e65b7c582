"""No second activation stands before a loss: none can be configured, none is taken."""

from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from harness.config import components
from harness.config.study import ModelConfig, TrialConfig, trial_keys
from harness.core.errors import ConfigError
from harness.models.registry import ARCHS, check_model, option_names
from harness.training.loop import network_setup
from harness.training.loop.network_setup import check_outputs_are_logits
from tests.training.test_tasks import MULTICLASS, MULTILABEL, train


class Head(nn.Module):
    """A convolution, a normalisation, a last layer, and what comes after it."""

    def __init__(self, last: nn.Module, norm: type[nn.Module] = nn.BatchNorm2d, k: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), norm(8), nn.ReLU())
        self.head = nn.Conv2d(8, k, 1)
        self.last = last

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.last(self.head(self.body(images)))
        return answer


@pytest.mark.parametrize("last", [nn.Sigmoid(), nn.Softmax(dim=1)])
@pytest.mark.parametrize("seed", range(5))
def test_probabilities_are_refused(last: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    network = Head(last).train()
    with pytest.raises(ConfigError, match=r"model\.arch: all outputs of mine lie in \[0, 1\]"):
        check_outputs_are_logits(network, "mine", 4, (16, 16))
    assert network.training


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
@pytest.mark.parametrize("seed", range(10))
def test_logits_are_taken(norm: type[nn.Module], seed: int) -> None:
    torch.manual_seed(seed)
    check_outputs_are_logits(Head(nn.Identity(), norm), "mine", 4, (16, 16))


def test_a_last_layer_that_begins_at_zero_is_taken() -> None:
    network = Head(nn.Identity())
    nn.init.zeros_(network.head.weight)
    assert network.head.bias is not None
    nn.init.zeros_(network.head.bias)
    check_outputs_are_logits(network, "mine", 4, (16, 16))


@pytest.mark.parametrize("activation", ["sigmoid", "softmax2d"])
def test_a_libraries_own_activation_would_be_found(activation: str) -> None:
    network = smp.Unet(
        "mobilenet_v2", encoder_weights=None, encoder_depth=3, decoder_channels=(16, 8, 8),
        in_channels=4, classes=3, activation=activation,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="as after a sigmoid or softmax"):
        check_outputs_are_logits(network, "Unet", 4, (32, 32))


def test_no_key_sets_an_activation() -> None:
    options = {name for arch in ARCHS for name in option_names(arch)}
    assert not [key for key in (*trial_keys(), *options) if "activation" in key]
    with pytest.raises(ConfigError, match=r"model\.activation: unknown setting"):
        TrialConfig.from_flat({"model.activation": "sigmoid"})
    for arch in ARCHS:
        with pytest.raises(
            ConfigError, match=rf"model\.options\.activation: unknown option of {arch};"
        ):
            check_model(ModelConfig(arch=arch, options={"activation": "sigmoid"}))


@pytest.mark.parametrize(
    ("data", "last"), [(MULTICLASS, nn.Softmax(1)), (MULTILABEL, nn.Sigmoid())]
)
def test_a_trial_with_such_a_network_never_begins(
    data: Any, last: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components, "_COMPONENTS", dict(components._COMPONENTS))
    components.network("mine", origin="parts.py")(lambda in_channels, classes: nn.Identity())
    channels = data.channels

    def build(*_: Any, classes: int, **__: Any) -> nn.Module:
        network = Head(last, k=classes)
        network.body[0] = nn.Conv2d(channels, 8, 3, padding=1)
        return network

    monkeypatch.setattr(network_setup, "build_network", build)
    with pytest.raises(ConfigError, match="remove that layer: losses and metrics expect logits"):
        train(tmp_path, data, model__arch="mine")
    assert not (tmp_path / "epochs.jsonl").exists()
