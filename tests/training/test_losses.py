import math

import pytest
import torch
from segmentation_models_pytorch.losses import FocalLoss
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss  # type: ignore[import-untyped]

from harness.config import LossConfig
from harness.training.losses import build_loss, focal

NONE = {"dice": 0.0, "bce": 0.0}
LN3 = math.log(3)
# Four pixels with probabilities 0.75, 0.25, 0.5, 0.5; the first is foreground:
# tp = 0.75, false alarms = 1.25, misses = 0.25.
LOGITS = torch.tensor([LN3, -LN3, 0.0, 0.0]).reshape(1, 1, 2, 2)
TARGET = torch.tensor([1, 0, 0, 0], dtype=torch.uint8).reshape(1, 2, 2)


def value(logits: Tensor = LOGITS, target: Tensor = TARGET, **settings: float) -> float:
    return float(build_loss(LossConfig(**{**NONE, **settings}))(logits, target).total)


def test_dice_by_hand() -> None:
    assert value(dice=1) == pytest.approx(1 - 2 * 0.75 / (2 + 1))


def test_jaccard_by_hand() -> None:
    assert value(jaccard=1) == pytest.approx(1 - 0.75 / (2 + 1 - 0.75))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_tversky_alpha_weighs_false_alarms(alpha: float) -> None:
    expected = 1 - 0.75 / (0.75 + alpha * 1.25 + (1 - alpha) * 0.25)
    assert value(tversky=1, tversky_alpha=alpha) == pytest.approx(expected)


def test_bce_by_hand() -> None:
    assert value(bce=1) == pytest.approx((-2 * math.log(0.75) - 2 * math.log(0.5)) / 4)


def test_bce_with_label_smoothing_by_hand() -> None:
    """The first target becomes 0.9, the others 0.1."""
    confident = -0.9 * math.log(0.75) - 0.1 * math.log(0.25)
    assert value(bce=1, label_smoothing=0.1) == pytest.approx((2 * confident + 2 * LN2) / 4)


LN2 = math.log(2)


def test_label_smoothing_leaves_regions_as_they_are() -> None:
    assert value(dice=1, label_smoothing=0.2) == value(dice=1)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_by_hand(gamma: float) -> None:
    expected = (2 * 0.25**gamma * -math.log(0.75) + 2 * 0.5**gamma * LN2) / 4
    assert value(focal=1, focal_gamma=gamma) == pytest.approx(expected)


def test_focal_equals_two_other_libraries() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 1, 8, 8), generator=generator)
    target = (torch.rand((2, 8, 8), generator=generator) > 0.7).float()
    ours = value(logits, target, focal=1, focal_gamma=2.0)
    others = [
        sigmoid_focal_loss(logits, target[:, None], alpha=-1, gamma=2.0, reduction="mean"),
        FocalLoss(mode="binary", gamma=2.0)(logits, target),
    ]
    assert others == [pytest.approx(ours), pytest.approx(ours)]


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_focal_has_a_finite_gradient_where_the_network_is_certain(gamma: float) -> None:
    logits = torch.tensor([40.0, 200.0, -40.0, 0.0], requires_grad=True)
    focal(logits, torch.tensor([1.0, 1.0, 0.0, 1.0]), gamma).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
    assert logits.grad[3] < 0, "the doubtful pixel still teaches"


def test_total_is_the_sum_of_parts_weighted_by_their_share() -> None:
    loss = build_loss(LossConfig(dice=3.0, bce=1.0, focal=0.0))
    result = loss(LOGITS, TARGET)
    assert loss.weights == {"dice": 0.75, "bce": 0.25}
    assert list(result.parts) == ["dice", "bce"]
    expected = 0.75 * value(dice=1) + 0.25 * value(bce=1)
    assert float(result.total) == pytest.approx(expected)
    assert float(result.parts["bce"]) == pytest.approx(value(bce=1))


def test_scaling_all_weights_changes_nothing() -> None:
    assert value(dice=0.2, jaccard=0.1) == pytest.approx(value(dice=20.0, jaccard=10.0))


def test_batch_without_foreground_teaches_bce_but_not_dice() -> None:
    empty = torch.zeros_like(TARGET)
    assert value(LOGITS, empty, dice=1) == 0
    assert value(LOGITS, empty, bce=1) > 0


@pytest.mark.parametrize("part", ["dice", "bce", "focal", "jaccard", "tversky"])
def test_half_precision_logits_are_summed_in_fp32(part: str) -> None:
    """70,000 pixels with p near 1: their sum is beyond what fp16 can hold."""
    logits = torch.full((1, 1, 250, 280), 4.0)
    target = torch.ones((1, 250, 280), dtype=torch.uint8)
    result = build_loss(LossConfig(**{**NONE, part: 1.0}))(logits.half(), target)
    assert result.total.dtype == torch.float32
    assert float(result.total) == pytest.approx(value(logits, target, **{part: 1.0}))
    assert math.isfinite(float(result.total))


@pytest.mark.parametrize("part", ["dice", "bce", "focal", "jaccard", "tversky"])
def test_descending_the_gradient_lowers_each_part(part: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = build_loss(LossConfig(**{**NONE, part: 1.0}))
    before = loss(logits, TARGET).total
    before.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert loss(logits.detach() - 0.1 * logits.grad, TARGET).total < before
