"""Blocks of the built-in networks, each after its paper; all keep (H, W) unless noted."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

ASPP_CHANNELS = 256  # channels of each branch in the paper


def conv_bn_relu(n_in: int, n_out: int, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias (the norm has one), BatchNorm, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


class DoubleConv(nn.Module):
    """Two 3 × 3 convolutions, (N, n_in, H, W) to (N, n_out, H, W), as the blocks of U-Net.

    Args:
        residual: Add the input, through a 1 × 1 convolution and BatchNorm where the number of
            channels changes, before the last ReLU.
        cbam: Reduction factor of CBAM, which refines the features before that addition; None:
            without CBAM.

    Source:
        Ronneberger et al. 2015, arXiv:1505.04597 (here padded, and with BatchNorm); residual:
        He et al. 2016, arXiv:1512.03385, figure 2 and projection shortcut (B).
    """

    def __init__(self, n_in: int, n_out: int, *, residual: bool, cbam: int | None) -> None:
        super().__init__()
        self.first = conv_bn_relu(n_in, n_out)
        self.second = conv_bn_relu(n_out, n_out)[:2]  # its ReLU comes after the addition
        self.attention = nn.Identity() if cbam is None else CbamAttention(n_out, cbam)
        self.shortcut: nn.Module | None = None
        if residual and n_in == n_out:
            self.shortcut = nn.Identity()
        elif residual:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.attention(self.second(self.first(x)))
        if self.shortcut is not None:
            features = features + self.shortcut(x)
        return F.relu(features)


class CbamAttention(nn.Module):
    """Convolutional block attention over channels, then over positions. Keeps the shape.

    Adds 2 C²/r weights for the channels (a shared perceptron without biases, C to C/r to C) and
    98 for the positions (one 7 × 7 convolution of two maps).

    Source:
        Woo et al. 2018, arXiv:1807.06521, equations 2 and 3.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.channels = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1, bias=False),
        )
        self.places = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # Both poolings go through the same perceptron (equation 2: shared weights), mean and max
        # alike.
        mean, most = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        x = x * torch.sigmoid(self.channels(mean) + self.channels(most))
        maps = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.places(maps))


class AsppModule(nn.Module):
    """Atrous spatial pyramid pooling: features at several scales. Keeps the shape.

    Branches of 256 channels (fewer if the input has fewer): a 1 × 1 convolution, one dilated 3 × 3
    convolution for each rate, and the mean of the map; joined by a 1 × 1 convolution. The mean is
    one pixel, so BatchNorm needs two images in a batch.

    Source:
        Chen et al. 2017, arXiv:1706.05587, section 3.3.
    """

    def __init__(self, channels: int, rates: Sequence[int]) -> None:
        super().__init__()
        width = min(ASPP_CHANNELS, channels)
        dilated = [conv_bn_relu(channels, width, 3, dilation=rate) for rate in rates]
        self.branches = nn.ModuleList([conv_bn_relu(channels, width, 1), *dilated])
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn_relu(channels, width, 1))
        self.project = conv_bn_relu((len(rates) + 2) * width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [branch(x) for branch in self.branches]
        # Bilinear resizing of one pixel is a constant, so expand gives the same without a copy.
        parts.append(self.mean(x).expand(-1, -1, *x.shape[2:]))
        joined: Tensor = self.project(torch.cat(parts, dim=1))
        return joined


class AttentionGate(nn.Module):
    """Additive attention gate: weights a skip connection by the coarser level.

    Maps (N, n_skip, H, W) and the gating signal (N, n_gate, H/2, W/2) to the weighted map. With F
    = n_skip / 2 hidden channels it adds F (n_skip + n_gate) + F + F + 1 weights: two 1 × 1
    convolutions, of which the gating one has a bias, and the one that joins them.

    Source:
        Oktay et al. 2018, arXiv:1804.03999, equations 1 and 2.
    """

    def __init__(self, n_skip: int, n_gate: int) -> None:
        super().__init__()
        hidden = max(1, n_skip // 2)
        self.of_skip = nn.Conv2d(n_skip, hidden, 1, stride=2, bias=False)
        self.of_gate = nn.Conv2d(n_gate, hidden, 1)
        self.joined = nn.Conv2d(hidden, 1, 1)

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        weight = torch.sigmoid(self.joined(F.relu(self.of_skip(skip) + self.of_gate(gate))))
        size = skip.shape[2:]
        return skip * F.interpolate(weight, size=size, mode="bilinear", align_corners=False)
