"""The plain fully convolutional network."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from harness.models.fcn import FcnNetwork


def enlarge(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def test_fcn_8s_by_hand() -> None:
    torch.manual_seed(0)
    network = FcnNetwork(3, 2, "resnet18", 5).eval()
    image = torch.rand(1, 3, 64, 96)
    _, _, _, s8, s16, s32 = network.encoder(image)
    score32, score16, score8 = network.scores
    by_hand = enlarge(enlarge(enlarge(score32(s32), 2) + score16(s16), 2) + score8(s8), 8)
    torch.testing.assert_close(network(image), by_hand)
    scores = sum(p.numel() for p in network.scores.parameters())
    assert scores == (512 + 256 + 128) * 2 + 3 * 2


@pytest.mark.parametrize(
    ("depth", "stride", "scored"),
    [(5, 32, [5]), (5, 16, [5, 4]), (5, None, [5, 4, 3]), (5, 4, [5, 4, 3, 2]), (2, None, [2])],
)
def test_stride_says_which_stages_are_scored(
    depth: int, stride: int | None, scored: list[int]
) -> None:
    network = FcnNetwork(1, 1, "resnet18", depth, stride=stride)  # type: ignore[arg-type]
    assert network.stages == scored
    assert network(torch.zeros(2, 1, 64, 32)).shape == (2, 1, 64, 32)


def test_a_stride_that_no_stage_has_is_refused() -> None:
    with pytest.raises(ValueError, match="stride 32: must be at most 8 at encoder_depth 3"):
        FcnNetwork(3, 1, "resnet18", 3, stride=32)
