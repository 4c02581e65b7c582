from typing import Any

import pytest
import torch
from torch import nn

from harness.core.errors import ConfigError
from harness.data.loading.augment import build_augmentation
from harness.data.loading.batches import TrainBatches
from harness.models.build import build_network
from harness.training.hardware.device_facts import Precision
from harness.training.hardware.normalizer import build_normalizer
from harness.training.loop.checkpoint import copy_to_cpu
from harness.training.loop.errors import DivergedError
from harness.training.loop.trainer import Trainer, epoch_seed
from tests.training.conftest import Pictures, settings


def trainer(
    pictures: Pictures, *, seed: int = 1, precision: Precision = "fp32", **changes: Any
) -> Trainer:
    config = settings(**changes)
    cache = pictures.cache(size=config.data.height_width)
    torch.manual_seed(epoch_seed(seed, 0))
    return Trainer(
        build_network(config.model),
        config,
        TrainBatches(
            cache.images,
            cache.masks,
            cache.train,
            config.train.batch_size,
            build_augmentation(config.data.augment),
            seed,
        ),
        build_normalizer(config, cache.data),
        data=cache.data,
        seed=seed,
        device=torch.device("cpu"),
        precision=precision,
    )


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_training_learns(pictures: Pictures) -> None:
    training = trainer(pictures, train__epochs=12, optim__lr=3e-3, data__augment="none")
    losses = [training.train_epoch(n)["train/loss"] for n in range(1, 13)]
    assert losses[-1] < 0.7 * losses[0]


def test_epoch_reports_loss_parts_and_rates(pictures: Pictures) -> None:
    line = trainer(
        pictures, optim__encoder_lr_scale=0.1, optim__schedule="constant", loss__bce=3.0
    ).train_epoch(1)
    assert line["train/loss"] == pytest.approx(
        0.25 * line["train/loss_dice"] + 0.75 * line["train/loss_bce"]
    )
    assert line["optim/lr"] == 1e-3 and line["optim/encoder_lr"] == pytest.approx(1e-4)
    assert "train/loss_dice" not in trainer(pictures, loss__bce=0.0).train_epoch(1)


@pytest.mark.parametrize("arch", ["Linknet", "FPN"])
def test_same_seed_gives_the_same_bits(pictures: Pictures, arch: str) -> None:
    """FPN has dropout."""
    options = {"decoder_pyramid_channels": 16} if arch == "FPN" else {}
    changes: dict[str, Any] = {"model__arch": arch, "model__options": options}
    first, second = (trainer(pictures, **changes) for _ in range(2))
    for n in (1, 2):
        assert first.train_epoch(n) == second.train_epoch(n)
    assert torch.equal(weights(first.network), weights(second.network))
    assert trainer(pictures, seed=2, **changes).train_epoch(1) != first.train_epoch(1)


def test_gradient_is_clipped_to_its_norm(pictures: Pictures) -> None:
    training = trainer(
        pictures,
        optim__name="sgd",
        optim__lr=1.0,
        optim__momentum=0.0,
        optim__weight_decay=0.0,
        optim__schedule="constant",
        optim__grad_clip=0.001,
        train__batch_size=64,
    )
    before = weights(training.network)
    training.train_epoch(1)
    moved = torch.linalg.vector_norm(weights(training.network).double() - before.double())
    assert float(moved) == pytest.approx(0.001, rel=1e-2)


def test_moving_average_is_what_is_judged(pictures: Pictures) -> None:
    plain, averaged = trainer(pictures), trainer(pictures, train__ema_decay=0.9)
    assert plain.eval_model is plain.network and averaged.eval_model is not averaged.network
    assert plain.train_epoch(1) == averaged.train_epoch(1)
    assert torch.equal(weights(plain.network), weights(averaged.network))
    assert not torch.equal(weights(averaged.eval_model), weights(averaged.network))


def test_bf16_trains_nearly_the_same_with_weights_in_fp32(pictures: Pictures) -> None:
    exact, short = trainer(pictures), trainer(pictures, precision="bf16")
    a, b = exact.train_epoch(1)["train/loss"], short.train_epoch(1)["train/loss"]
    assert a != b and b == pytest.approx(a, abs=0.02)
    assert {p.dtype for p in short.network.parameters()} == {torch.float32}


def test_encoder_is_frozen_for_the_epochs_that_are_asked_for(pictures: Pictures) -> None:
    training = trainer(pictures, train__freeze_encoder_epochs=1)
    network: Any = training.network
    before = weights(network.encoder)
    assert training.train_epoch(1)["optim/encoder_lr"] == 0
    assert torch.equal(weights(network.encoder), before)
    assert training.train_epoch(2)["optim/encoder_lr"] > 0
    assert not torch.equal(weights(network.encoder), before)


def test_thawed_encoder_starts_without_momentum_of_frozen_epochs(pictures: Pictures) -> None:
    """Nothing of it is in the optimiser before, neither momentum nor a count of steps."""
    training = trainer(pictures, train__freeze_encoder_epochs=1)
    training.train_epoch(1)
    groups = training.state()["optimizer"]["param_groups"]
    frozen = {index for group in groups if group["part"] == "encoder" for index in group["params"]}
    assert frozen and not frozen & set(training.state()["optimizer"]["state"])
    training.train_epoch(2)
    assert frozen & set(training.state()["optimizer"]["state"]), (
        "as far as it is used at this depth"
    )


def test_loss_that_is_not_finite_ends_the_training(pictures: Pictures) -> None:
    training = trainer(pictures)
    next(training.network.parameters()).data.fill_(float("nan"))
    with pytest.raises(DivergedError, match="the training loss is nan in epoch 2"):
        training.train_epoch(2)


def test_batch_of_one_that_an_architecture_cannot_train_on_is_a_configuration_error(
    pictures: Pictures,
) -> None:
    training = trainer(
        pictures,
        model__arch="DeepLabV3",
        model__options={"decoder_channels": 8},
        train__batch_size=1,
    )
    with pytest.raises(ConfigError, match=r"train.batch_size: .* in a batch of 1 at 32 x 32 "):
        training.train_epoch(1)


def test_compiled_network_is_the_one_that_trains(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def compiled(network: nn.Module) -> Any:
        def forward(x: torch.Tensor) -> torch.Tensor:
            calls.append(len(x))
            answer: torch.Tensor = network(x)
            return answer

        return forward

    monkeypatch.setattr(torch, "compile", compiled)
    training = trainer(pictures, train__compile=True)
    plain = trainer(pictures)
    assert training.train_epoch(1) == plain.train_epoch(1)
    assert len(calls) == 3


def test_state_carries_a_training_over(pictures: Pictures) -> None:
    first = trainer(pictures, train__ema_decay=0.9)
    first.train_epoch(1)
    second = trainer(pictures, seed=1, train__ema_decay=0.9)
    second.load(copy_to_cpu(first.state()))
    assert second.train_epoch(2) == first.train_epoch(2)
    assert torch.equal(weights(second.eval_model), weights(first.eval_model))


@pytest.mark.parametrize("before", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("after", ["fp32", "bf16", "fp16"])
def test_state_is_continued_in_another_precision(
    pictures: Pictures, before: Precision, after: Precision
) -> None:
    """As `auto` is another one on another machine; only fp16 has a scale, else a new one."""
    first = trainer(pictures, precision=before)
    first.train_epoch(1)
    second = trainer(pictures, precision=after)
    second.load(copy_to_cpu(first.state()))
    assert torch.equal(weights(second.network), weights(first.network))
    scale = second.state()["scaler"].get("scale")
    kept = first.state()["scaler"].get("scale") if before == after else 65536.0
    assert scale == (kept if after == "fp16" else None)
    assert second.train_epoch(2)["train/loss"] == pytest.approx(
        first.train_epoch(2)["train/loss"], abs=0.05
    )


def test_epochs_have_different_seeds() -> None:
    assert len({epoch_seed(seed, epoch) for seed in range(20) for epoch in range(20)}) == 400
    assert all(0 <= epoch_seed(seed, 1) < 2**63 for seed in range(50))
