"""Our U-Net: the plain one by the book, and what each switch adds by its paper."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.models.attention_unet import AttentionUnet


def weights_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def double_conv(n_in: int, n_out: int) -> int:
    """Two 3 x 3 convolutions without bias, each with the two parameters of BatchNorm."""
    return 9 * n_in * n_out + 2 * n_out + 9 * n_out * n_out + 2 * n_out


def plain(widths: list[int], n_in: int = 3, classes: int = 1) -> int:
    """By hand: down, transposed 2 x 2 convolutions with bias, up, the last 1 x 1 convolution."""
    down = sum(double_conv(a, b) for a, b in zip([n_in, *widths], widths, strict=False))
    up = sum(4 * 2 * w * w + w + double_conv(2 * w, w) for w in widths[:-1])
    return down + up + widths[0] * classes + classes


def test_plain_one_has_the_size_that_everybody_knows() -> None:
    """31,037,633: the count of the widespread PyTorch U-Net with BatchNorm, 3 channels, 1 class."""
    assert plain([64, 128, 256, 512, 1024]) == 31_037_633
    with torch.device("meta"):
        assert weights_of(AttentionUnet(3, 1, 4)) == 31_037_633
        assert weights_of(AttentionUnet(5, 2, 3, base_channels=8)) == plain([8, 16, 32, 64], 5, 2)


class Reference(nn.Module):
    """The U-Net of the paper written out at depth 2, on somebody else's weights."""

    def __init__(self, network: AttentionUnet) -> None:
        super().__init__()
        self.w = network.state_dict()

    def block(self, x: Tensor, name: str) -> Tensor:
        for part in ("first", "second"):
            x = F.conv2d(x, self.w[f"{name}.{part}.0.weight"], padding=1)
            mean, var = (
                self.w[f"{name}.{part}.1.running_mean"],
                self.w[f"{name}.{part}.1.running_var"],
            )
            scale, bias = self.w[f"{name}.{part}.1.weight"], self.w[f"{name}.{part}.1.bias"]
            x = torch.relu(F.batch_norm(x, mean, var, scale, bias))
        return x

    def up(self, x: Tensor, skip: Tensor, name: str) -> Tensor:
        x = F.conv_transpose2d(x, self.w[f"{name}.up.weight"], self.w[f"{name}.up.bias"], stride=2)
        return self.block(torch.cat([skip, x], 1), f"{name}.convolutions")

    def forward(self, x: Tensor) -> Tensor:
        a = self.block(x, "encoder.levels.0")
        b = self.block(F.max_pool2d(a, 2), "encoder.levels.1")
        c = self.block(F.max_pool2d(b, 2), "encoder.levels.2")
        x = self.up(self.up(c, b, "steps.0"), a, "steps.1")
        return F.conv2d(x, self.w["head.weight"], self.w["head.bias"])


def test_all_switches_off_is_the_plain_unet() -> None:
    torch.manual_seed(0)
    network = AttentionUnet(3, 2, 2, base_channels=4).eval()
    for name, buffer in network.named_buffers():
        if buffer.dtype.is_floating_point:
            buffer.copy_(torch.rand_like(buffer) + 0.5 * ("var" in name))
    image = torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(network(image), Reference(network)(image))


WIDTHS = [32, 64, 128, 256, 512]


def extra(**switches: object) -> int:
    with torch.device("meta"):
        network = AttentionUnet(3, 1, 4, base_channels=32, **switches)  # type: ignore[arg-type]
    return weights_of(network) - plain(WIDTHS)


def test_residual_blocks_add_projections() -> None:
    """One per block, as each changes the number of channels: a 1 x 1 convolution and BatchNorm."""
    down = sum(a * b + 2 * b for a, b in zip([3, *WIDTHS], WIDTHS, strict=False))
    up = sum(2 * w * w + 2 * w for w in WIDTHS[:-1])
    assert extra(residual=True) == down + up


def test_aspp_adds_its_branches_at_the_bottom() -> None:
    """C = 512 in, five branches of 256: 1 x 1, three 3 x 3, the mean; then 1280 to 512."""
    branches = 512 * 256 + 3 * 9 * 512 * 256 + 512 * 256 + 5 * 2 * 256
    assert extra(aspp=True) == branches + 1280 * 512 + 2 * 512
    assert extra(aspp=True, aspp_rates=[1, 2]) == (
        512 * 256 + 2 * 9 * 512 * 256 + 512 * 256 + 4 * 2 * 256 + 1024 * 512 + 2 * 512
    )


def test_cbam_adds_a_perceptron_and_a_convolution_to_each_block() -> None:
    blocks = [*WIDTHS, *WIDTHS[:-1]]
    assert extra(cbam=True) == sum(2 * c * (c // 16) + 2 * 49 for c in blocks)
    assert extra(cbam=True, cbam_reduction=8) == sum(2 * c * (c // 8) + 2 * 49 for c in blocks)


def test_gates_add_two_projections_and_what_joins_them() -> None:
    """Skip of C, gate of 2C, C/2 hidden: C/2 (C + 2C) weights, C/2 biases, C/2 + 1 to join."""
    gates = [(c // 2) * (c + 2 * c) + c // 2 + c // 2 + 1 for c in WIDTHS[:-1]]
    assert extra(up_attention=True) == sum(gates)


@pytest.mark.parametrize("switch", ["residual", "aspp", "cbam", "up_attention"])
def test_each_switch_trains_and_keeps_the_size(switch: str) -> None:
    torch.manual_seed(0)
    network = AttentionUnet(3, 2, 3, base_channels=4, **{switch: True})  # type: ignore[arg-type]
    logits = network(torch.rand(2, 3, 16, 24))
    assert logits.shape == (2, 2, 16, 24)
    logits.square().mean().backward()
    still = [name for name, p in network.named_parameters() if p.grad is None]
    assert still == []


def test_dilation_rates_act() -> None:
    """Rates are read: with the same weights another rate gives another answer."""
    networks = []
    for rates in ([1, 2, 3], [1, 2, 4]):
        torch.manual_seed(0)
        networks.append(AttentionUnet(3, 1, 2, base_channels=4, aspp=True, aspp_rates=rates).eval())
    image = torch.rand(1, 3, 32, 32)
    assert not torch.equal(networks[0](image), networks[1](image))


def test_a_gate_that_is_shut_hides_the_skip_connection() -> None:
    network = AttentionUnet(3, 1, 2, base_channels=4, up_attention=True).eval()
    step = network.steps[0]
    assert isinstance(step.gate, nn.Module)
    nn.init.constant_(step.gate.joined.bias, -1e4)  # type: ignore[union-attr, arg-type]
    coarse = torch.rand(1, 16, 4, 4)
    one, other = (step(coarse, torch.rand(1, 8, 8, 8)) for _ in range(2))
    torch.testing.assert_close(one, other)


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"divisible by 8 \(got 20 x 24\)"):
        AttentionUnet(3, 1, 3, base_channels=4)(torch.zeros(1, 3, 20, 24))
