"""Network `attention_unet`: a U-Net with optional residual blocks, ASPP, CBAM and gates."""

from typing import Annotated

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from pydantic import Field
from torch import Tensor, nn

from harness.config import components
from harness.models.blocks import AsppModule, AttentionGate, DoubleConv

Width = Annotated[int, Field(ge=1, le=1024)]
Rates = Annotated[list[Annotated[int, Field(ge=1, le=64)]], Field(min_length=1, max_length=8)]


class ContractingPath(nn.Module):
    """Contracting path: (N, in_channels, H, W) to a feature map for each level, finest first.

    Level i has `base_channels` · 2^i channels at 1 / 2^i of the size; the last is the bottleneck.
    """

    def __init__(self, widths: list[int], n_in: int, *, residual: bool, cbam: int | None) -> None:
        super().__init__()
        pairs = zip([n_in, *widths], widths, strict=False)
        self.levels = nn.ModuleList(
            DoubleConv(before, width, residual=residual, cbam=cbam) for before, width in pairs
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.levels[0](x)]
        for level in list(self.levels)[1:]:
            features.append(level(F.max_pool2d(features[-1], 2)))
        return features


class UpStep(nn.Module):
    """Expanding step: upsample by two, concatenate the skip connection, two convolutions."""

    def __init__(self, width: int, *, residual: bool, cbam: int | None, gate: bool) -> None:
        super().__init__()
        # Kernel equal to stride: windows that overlap unevenly leave chequered patterns (Odena et
        # al. 2016, "Deconvolution and checkerboard artifacts").
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.gate = AttentionGate(width, 2 * width) if gate else None
        self.convolutions = DoubleConv(2 * width, width, residual=residual, cbam=cbam)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        if self.gate is not None:
            skip = self.gate(skip, coarse)
        joined: Tensor = self.convolutions(torch.cat([skip, self.up(coarse)], dim=1))
        return joined


@components.network("attention_unet")
class AttentionUnet(nn.Module):
    """Logits (N, classes, H, W) of images (N, in_channels, H, W); H and W divide by 2^depth.

    With all options off it is the U-Net of the paper with padding and BatchNorm. Its encoder has no
    pretrained weights.

    Args:
        encoder_depth: Number of times that the size is halved; 4 in the paper.
        base_channels: Channels of the first level; 64 in the paper. Each lower level has twice as
            many as the one above.
        residual: Use residual blocks in both paths.
        aspp: Use atrous spatial pyramid pooling at the bottleneck.
        aspp_rates: Dilation rates of the pooling; 6, 12, 18 in the paper, for features at 1/16 of
            the size.
        cbam: Use block attention in every block.
        cbam_reduction: Factor by which block attention reduces the channels; 16 in the paper.
        up_attention: Use attention gates on the skip connections.

    Source:
        Ronneberger et al. 2015, arXiv:1505.04597; the switches: see `harness.models.blocks`.
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 1,
        encoder_depth: int = 4,
        *,
        base_channels: Width = 64,
        residual: bool = False,
        aspp: bool = False,
        aspp_rates: Rates = [6, 12, 18],  # noqa: B006 - never changed
        cbam: bool = False,
        cbam_reduction: Width = 16,
        up_attention: bool = False,
    ) -> None:
        super().__init__()
        widths = [base_channels * 2**i for i in range(encoder_depth + 1)]
        reduction = cbam_reduction if cbam else None
        self.stride = 2**encoder_depth
        self.encoder = ContractingPath(widths, in_channels, residual=residual, cbam=reduction)
        self.bottom = AsppModule(widths[-1], aspp_rates) if aspp else nn.Identity()
        self.steps = nn.ModuleList(
            UpStep(width, residual=residual, cbam=reduction, gate=up_attention)
            for width in reversed(widths[:-1])
        )
        self.head = nn.Conv2d(base_channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"height and width must be divisible by {self.stride} (got {height} x {width})"
            )
        *skips, coarse = self.encoder(x)
        coarse = self.bottom(coarse)
        for step, skip in zip(self.steps, reversed(skips), strict=True):
            coarse = step(coarse, skip)
        logits: Tensor = self.head(coarse)
        return logits
