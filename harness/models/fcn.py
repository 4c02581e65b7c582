"""Network `fcn`; separate from its importer, the registry, because importing it registers it.

It is the plain fully convolutional network on any encoder.
"""

from typing import Any, Literal

import torch.nn.functional as F  # noqa: N812 - its usual name
from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn

from harness.config import components


@components.network("fcn")
class FcnNetwork(nn.Module):
    """Logits (N, classes, H, W) of images (N, in_channels, H, W).

    A 1 × 1 convolution scores each stage of the encoder from the deepest to that of `stride`; from
    coarse to fine each sum of scores is enlarged bilinearly and the next scores are added.

    Args:
        image_size: (H, W), for encoders that are built for one size.
        stride: Stride of the finest stage that is scored: 32, 16 and 8 are the paper's FCN-32s,
            FCN-16s and FCN-8s. None: 8, or that of the deepest stage if it is smaller.

    Raises:
        ValueError: no stage of the encoder has that stride.

    Source:
        Long, Shelhamer and Darrell 2015, arXiv:1411.4038; upsampled by bilinear interpolation, the
        initial value of the learned upsampling there.
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 1,
        encoder_name: str = "resnet34",
        encoder_depth: int = 5,
        image_size: list[int] | None = None,
        *,
        stride: Literal[4, 8, 16, 32] | None = None,
    ) -> None:
        super().__init__()
        deepest = 2**encoder_depth
        if stride is not None and stride > deepest:
            raise ValueError(
                f"stride {stride}: must be at most {deepest} at encoder_depth {encoder_depth}"
            )
        sized = {} if image_size is None else {"img_size": image_size}
        self.encoder: Any = get_encoder(
            encoder_name, in_channels=in_channels, depth=encoder_depth, weights=None, **sized
        )
        finest = min(stride or 8, deepest)
        widths = list(self.encoder.out_channels)
        self.stages = [i for i in range(encoder_depth, 0, -1) if 2**i >= finest]
        self.scores = nn.ModuleList(nn.Conv2d(widths[i], classes, 1) for i in self.stages)

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x)
        total: Tensor | None = None
        for i, score in zip(self.stages, self.scores, strict=True):
            scores = score(features[i])
            total = scores if total is None else scores + _upsample(total, scores.shape[2:])
        assert total is not None
        return _upsample(total, x.shape[2:])


def _upsample(scores: Tensor, size: Any) -> Tensor:
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
