"""The boundary loss: distances by hand, ignored pixels, absent classes, gradients, its partner."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.study import LossConfig, TrialConfig
from harness.core.errors import ConfigError
from harness.training.loss.builtin_losses import _signed_distances, boundary
from harness.training.loss.combined_loss import build_training_loss

VOID = IGNORE_INDEX
SURE = 50.0  # a logit whose sigmoid is 1, and 0 with the other sign


def square() -> Tensor:
    """A 9x9 image with a 5x5 square in its middle."""
    target = torch.zeros(1, 1, 9, 9)
    target[..., 2:7, 2:7] = 1
    return target


def test_distances_of_a_square_by_hand() -> None:
    distances = _signed_distances(square().numpy().astype(np.uint8))[0, 0]
    assert distances[4].tolist() == [2, 1, 0, -1, -2, -1, 0, 1, 2]  # through the middle
    assert distances[2].tolist() == [2, 1, 0, 0, 0, 0, 0, 1, 2]  # along the upper side
    assert distances[0, 0] == pytest.approx(8**0.5) and distances[1, 1] == pytest.approx(2**0.5)


def test_a_perfect_square_has_the_lowest_value() -> None:
    """Inside it are 16 pixels of 0, 8 of -1 and one of -2."""
    target = square()
    perfect = boundary(SURE * (2 * target - 1), target, task="binary")
    assert float(perfect) == pytest.approx(-10 / 81)
    larger = torch.full_like(target, -SURE)
    larger[..., 1:8, 1:8] = SURE  # a ring of 20 pixels at 1 and 4 corners at the root of 2
    value = boundary(larger, target, task="binary")
    assert float(value) == pytest.approx((-10 + 20 + 4 * 2**0.5) / 81)


def test_the_gradient_is_the_distance_times_that_of_the_sigmoid() -> None:
    target, logits = square(), torch.zeros(1, 1, 9, 9, requires_grad=True)
    boundary(logits, target, task="binary").backward()  # type: ignore[no-untyped-call]
    distances = _signed_distances(target.numpy().astype(np.uint8))
    assert logits.grad is not None
    assert logits.grad.numpy() == pytest.approx(0.25 * distances / 81)


def test_an_ignored_pixel_has_no_distance_and_is_no_edge() -> None:
    row = torch.tensor([1.0, 1, VOID, VOID, 0, 0]).view(1, 1, 1, 6)
    distances = _signed_distances(row.numpy().astype(np.uint8))
    assert distances.ravel().tolist() == [-3, -2, 0, 0, 3, 4]
    value = boundary(torch.full_like(row, SURE), row, task="binary")
    assert float(value) == pytest.approx((-3 - 2 + 3 + 4) / 4)


@pytest.mark.parametrize("value", [0, 1, VOID])
def test_an_image_of_one_kind_of_pixel_adds_nothing(value: int) -> None:
    target = torch.cat([square(), torch.full((1, 1, 9, 9), float(value))])
    logits = torch.cat([SURE * (2 * square() - 1), torch.full((1, 1, 9, 9), SURE)])
    n_pixels = 81 if value == VOID else 162
    assert float(boundary(logits, target, task="binary")) == pytest.approx(-10 / n_pixels)


def test_a_class_that_an_image_lacks_adds_nothing_there() -> None:
    """Classes 0 and 1 share the image, class 2 is in none: the mean is over three outputs."""
    target = torch.tensor([0, 0, 1, 1]).view(1, 1, 4)
    logits = torch.zeros(1, 3, 1, 4)
    # class 0 has -1, 0, 1, 2 and class 1 the mirror image; each probability is 1/3
    assert float(boundary(logits, target, task="multiclass")) == pytest.approx(2 * 2 / 3 / 12)
    planes = torch.stack([target == k for k in range(3)], dim=1).float()
    assert float(boundary(logits, planes, task="multilabel")) == pytest.approx(2 * 2 / 2 / 12)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_nothing_is_learnt_from_a_batch_without_a_pixel_that_counts(task: str) -> None:
    shape = (2, 4, 4) if task == "multiclass" else (2, 3, 4, 4)
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    value = boundary(logits, torch.full(shape, VOID), task=task)
    value.backward()  # type: ignore[no-untyped-call]
    assert float(value.detach()) == 0 and logits.grad is not None and not logits.grad.any()


def test_a_total_may_be_negative_and_stays_a_weighted_mean() -> None:
    config = LossConfig(dice=1.0, bce=0.0, boundary=3.0)
    target = square()
    value = build_training_loss(config, StudyDataConfig())(
        SURE * (2 * target - 1), target[:, 0].to(torch.uint8)
    )
    assert float(value.parts["boundary"]) == pytest.approx(-10 / 81)
    assert float(value.total) == pytest.approx(-0.75 * 10 / 81, abs=1e-6)


@pytest.mark.parametrize("weights", [{"boundary": 1.0}, {"boundary": 0.01, "class_weights": None}])
def test_it_is_refused_as_the_only_loss(weights: dict[str, Any]) -> None:
    flat = {"loss.dice": 0.0, "loss.bce": 0.0} | {f"loss.{k}": v for k, v in weights.items()}
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_flat(flat, source="p")
    assert caught.value.problems == [
        "p: loss: boundary cannot be the only loss; set one of dice, bce, ce, focal, jaccard, "
        "tversky, lovasz above 0"
    ]
    assert TrialConfig.from_flat(flat | {"loss.dice": 1.0}).loss.weights["dice"] >= 0.5
