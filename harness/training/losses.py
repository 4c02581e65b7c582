"""The training loss: a weighted sum of parts, each computed on logits in fp32.

Pixels whose target is VOID count in no part, and no gradient comes from them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from segmentation_models_pytorch.losses import DiceLoss, JaccardLoss, LovaszLoss, TverskyLoss
from torch import Tensor

from harness.config import LossConfig
from harness.data_config import VOID, StudyDataConfig
from harness.training.checks import check_loss, may_be_void

Part = Callable[[Tensor, Tensor], Tensor]
Shape = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LossValue:
    """`total` is what training descends; `parts` are its terms before weighting, detached."""

    total: Tensor
    parts: dict[str, Tensor]


class Loss:
    """Call with logits (N, n_outputs, H, W) and the masks of a batch; see `build_loss`."""

    def __init__(self, weights: dict[str, float], parts: dict[str, Part], shape: Shape) -> None:
        self.weights = weights
        self._parts, self._shape = parts, shape

    def __call__(self, logits: Tensor, target: Tensor) -> LossValue:
        # Sums over a whole batch overflow fp16 and lose small objects in bf16.
        logits, target = logits.float(), self._shape(target)
        values = {name: part(logits, target) for name, part in self._parts.items()}
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        return LossValue(total, {name: value.detach() for name, value in values.items()})


def build_loss(config: LossConfig, data: StudyDataConfig) -> Loss:
    """The training loss of a configuration; its weights are divided by their sum.

    Targets are uint8: (N, H, W) in {0, 1} in two-class tasks, (N, H, W) of class indices in
    multiclass ones, (N, H, W, K) in {0, 1} in multilabel ones; each may hold VOID.

    dice, jaccard and tversky are of the batch as a whole and of all classes, of which one that the
    batch does not show adds 0. lovasz is the hinge of each image (and class) in two-class and
    multilabel tasks, the softmax of the batch in multiclass ones. Label smoothing and class weights
    act in bce, ce and focal; the other parts compare regions, which stay what they are.

    Raises:
        ConfigError: parts that cannot act in this task.
    """
    check_loss(config, data)
    weights = config.weights
    parts = _region_parts(config, data)
    parts |= _softmax_parts(config) if data.task == "multiclass" else _sigmoid_parts(config, data)
    shape = {"binary": _one_plane, "multiclass": _indices, "multilabel": _planes}[data.task]
    return Loss(weights, {name: parts[name] for name in weights}, shape)


def _one_plane(target: Tensor) -> Tensor:
    return target.float().unsqueeze(1)


def _indices(target: Tensor) -> Tensor:
    return target.long()


def _planes(target: Tensor) -> Tensor:
    return target.permute(0, 3, 1, 2).float()


def _region_parts(config: LossConfig, data: StudyDataConfig) -> dict[str, Part]:
    """The library's; its ignore_index keeps pixels out of all three sums behind a score."""
    alpha, mode = config.tversky_alpha, data.task
    void = VOID if may_be_void(data) else None
    return {
        "dice": DiceLoss(mode=mode, ignore_index=void),
        "jaccard": JaccardLoss(mode=mode, ignore_index=void),
        "tversky": TverskyLoss(mode=mode, ignore_index=void, alpha=alpha, beta=1 - alpha),
    }


def _sigmoid_parts(config: LossConfig, data: StudyDataConfig) -> dict[str, Part]:
    """Parts of tasks in which each output is a question of its own."""
    smoothing, gamma = config.label_smoothing, config.focal_gamma
    if not may_be_void(data) and config.class_weights is None:
        return {
            "bce": lambda logits, target: bce(logits, smooth(target, smoothing)),
            "focal": lambda logits, target: focal(logits, smooth(target, smoothing), gamma),
            "lovasz": lovasz_hinge,
        }

    def weigh(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and weight of each pixel and output, both (N, K, H, W)."""
        counts = target != VOID
        weight = counts * _tensor(config.class_weights or [1.0], logits).view(1, -1, 1, 1)
        target = smooth(target * counts, smoothing)
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none"), weight

    return {
        "bce": lambda logits, target: _mean(*weigh(logits, target)),
        "focal": lambda logits, target: _focal_mean(*weigh(logits, target), gamma),
        "lovasz": lovasz_hinge,
    }


def _softmax_parts(config: LossConfig) -> dict[str, Part]:
    """Parts of tasks in which each pixel has one of K classes."""
    smoothing, gamma, weights = config.label_smoothing, config.focal_gamma, config.class_weights
    return {
        "ce": lambda logits, target: _mean(*_cross_entropy(logits, target, smoothing, weights)),
        "focal": lambda logits, target: _focal_mean(
            *_cross_entropy(logits, target, smoothing, weights), gamma
        ),
        "lovasz": lovasz_softmax,
    }


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
    return (_doubt(cross_entropy, gamma) * cross_entropy).mean()


def lovasz_hinge(logits: Tensor, target: Tensor) -> Tensor:
    """Lovász hinge of each image and output (N, K, H, W), the mean over them.

    The library would sort the pixels of all outputs of an image together.

    Source:
        Berman et al. 2018, The Lovász-Softmax Loss, arXiv:1705.08790.
    """
    value: Tensor = LovaszLoss("binary", per_image=True, ignore_index=VOID)(
        logits.flatten(0, 1), target.flatten(0, 1)
    )
    return value


def lovasz_softmax(logits: Tensor, target: Tensor) -> Tensor:
    """Lovász-Softmax of the batch (N, K, H, W): the mean over the classes that it shows."""
    if not (target != VOID).any():
        return logits.sum() * 0.0  # the library gives no number here
    value: Tensor = LovaszLoss("multiclass", ignore_index=VOID)(logits, target)
    return value


def _cross_entropy(
    logits: Tensor, target: Tensor, smoothing: float, weights: Sequence[float] | None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and weight of each pixel, both (N, H, W).

    Smoothing gives the right class 1 - `smoothing` and shares the rest among the others: in two
    classes the same as `smooth`. Torch takes what is shared among all of them, the right one too.
    """
    n_classes = logits.shape[1]
    shared = smoothing * n_classes / (n_classes - 1)
    values = F.cross_entropy(
        logits, target, ignore_index=VOID, label_smoothing=shared, reduction="none"
    )
    counts = target != VOID
    if weights is None:
        return values, counts.to(values.dtype)
    return values, _tensor(weights, logits)[target * counts] * counts


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean; 0 where nothing has a weight."""
    return (values * weight).sum() / _total(values, weight)


def _focal_mean(cross_entropy: Tensor, weight: Tensor, gamma: float) -> Tensor:
    return _mean(_doubt(cross_entropy, gamma) * cross_entropy, weight)


def _total(values: Tensor, weight: Tensor) -> Tensor:
    total = weight.expand_as(values).sum()
    return torch.where(total > 0, total, 1.0)


def _doubt(cross_entropy: Tensor, gamma: float) -> Tensor:
    return (-torch.expm1(-cross_entropy)).clamp_min(1e-6).pow(gamma)


def _tensor(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)
