"""The training loss: a weighted sum of parts, each computed on logits in fp32."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from segmentation_models_pytorch.losses import DiceLoss, JaccardLoss, TverskyLoss
from torch import Tensor

from harness.config import LossConfig

Part = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LossValue:
    """`total` is what training descends; `parts` are its terms before weighting, detached."""

    total: Tensor
    parts: dict[str, Tensor]


class Loss:
    """Call with logits (N, 1, H, W) and target (N, H, W) in {0, 1}; see `build_loss`."""

    def __init__(self, weights: dict[str, float], parts: dict[str, Part]) -> None:
        self.weights = weights
        self._parts = parts

    def __call__(self, logits: Tensor, target: Tensor) -> LossValue:
        # Sums over a whole batch overflow fp16 and lose small objects in bf16.
        logits, target = logits.float(), target.float().unsqueeze(1)
        values = {name: part(logits, target) for name, part in self._parts.items()}
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        return LossValue(total, {name: value.detach() for name, value in values.items()})


def build_loss(config: LossConfig) -> Loss:
    """The training loss of a configuration; its weights are divided by their sum.

    dice, jaccard and tversky are of the batch as a whole, and 0 for a batch without foreground.
    Label smoothing moves the targets of bce and focal; the other parts compare regions, which
    stay what they are.
    """
    smoothing, gamma = config.label_smoothing, config.focal_gamma
    alpha = config.tversky_alpha
    parts: dict[str, Part] = {
        "dice": DiceLoss(mode="binary"),
        "bce": lambda logits, target: bce(logits, smooth(target, smoothing)),
        "focal": lambda logits, target: focal(logits, smooth(target, smoothing), gamma),
        "jaccard": JaccardLoss(mode="binary"),
        "tversky": TverskyLoss(mode="binary", alpha=alpha, beta=1 - alpha),
    }
    weights = config.weights
    return Loss(weights, {name: parts[name] for name in weights})


def smooth(target: Tensor, amount: float) -> Tensor:
    """Targets moved inwards: 0 becomes `amount`, 1 becomes 1 - `amount`."""
    return target * (1 - 2 * amount) + amount if amount else target


def bce(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over all pixels."""
    return F.binary_cross_entropy_with_logits(logits, target)


def focal(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Focal loss (1 - q)^gamma · -log q, q the probability of the right answer; mean over pixels.

    Not the library's: its gradient is NaN for gamma < 1 as soon as one pixel is certain, where
    1 - q rounds to 0 and the derivative of its power to infinity.

    Source:
        Lin et al. 2017, Focal Loss for Dense Object Detection, equation 4.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    doubt = -torch.expm1(-cross_entropy)
    return (doubt.clamp_min(1e-6).pow(gamma) * cross_entropy).mean()
