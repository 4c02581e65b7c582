"""Our losses: each registered by name, given logits in fp32 and the target of its task.

Shapes are those of `harness.parts.loss`. Pixels whose target is VOID count nowhere, and no gradient
comes from them.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from segmentation_models_pytorch.losses import DiceLoss, JaccardLoss, LovaszLoss, TverskyLoss
from torch import Tensor

from harness import parts
from harness.data_config import VOID

SIGMOID: tuple[parts.Task, ...] = ("binary", "multilabel")  # each output is a question of its own


@parts.loss("dice")
def dice(logits: Tensor, target: Tensor, *, task: str, void: bool) -> Tensor:
    """1 - Dice of the batch, the mean over classes; one that the batch does not show adds 0."""
    value: Tensor = DiceLoss(mode=task, ignore_index=_void(void))(logits, target)
    return value


@parts.loss("bce", tasks=SIGMOID)
def bce(
    logits: Tensor,
    target: Tensor,
    *,
    void: bool,
    label_smoothing: float,
    class_weights: Tensor | None,
) -> Tensor:
    """Binary cross-entropy, the weighted mean over pixels and outputs."""
    if not void and class_weights is None:
        return F.binary_cross_entropy_with_logits(logits, smooth(target, label_smoothing))
    return _mean(*_sigmoid_entropy(logits, target, label_smoothing, class_weights))


@parts.loss("ce")
def ce(
    logits: Tensor,
    target: Tensor,
    *,
    task: str,
    void: bool,
    label_smoothing: float,
    class_weights: Tensor | None,
) -> Tensor:
    """Cross-entropy of the task, so that one space serves every task.

    Multiclass tasks: the weighted mean over pixels; the weight is that of the right class.
    Two-class and multilabel tasks: `bce`.
    """
    if task == "multiclass":
        return _mean(*_softmax_entropy(logits, target, label_smoothing, class_weights))
    return bce(
        logits, target, void=void, label_smoothing=label_smoothing, class_weights=class_weights
    )


@parts.loss("focal")
def focal(
    logits: Tensor,
    target: Tensor,
    *,
    task: str,
    void: bool,
    label_smoothing: float,
    class_weights: Tensor | None,
    gamma: float = 2.0,
) -> Tensor:
    """Focal loss (1 - q)^gamma · -log q, q the probability of the right answer; a weighted mean.

    Not the library's: its gradient is NaN for gamma < 1 as soon as one pixel is certain, where
    1 - q rounds to 0 and the derivative of its power to infinity.

    Source:
        Lin et al. 2017, Focal Loss for Dense Object Detection, equation 4.
    """
    if task != "multiclass" and not void and class_weights is None:
        soft = smooth(target, label_smoothing)
        entropy = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
        return (_doubt(entropy, gamma) * entropy).mean()
    terms = _softmax_entropy if task == "multiclass" else _sigmoid_entropy
    entropy, weight = terms(logits, target, label_smoothing, class_weights)
    return _mean(_doubt(entropy, gamma) * entropy, weight)


@parts.loss("jaccard")
def jaccard(logits: Tensor, target: Tensor, *, task: str, void: bool) -> Tensor:
    """1 - intersection over union, as `dice`."""
    value: Tensor = JaccardLoss(mode=task, ignore_index=_void(void))(logits, target)
    return value


@parts.loss("tversky")
def tversky(logits: Tensor, target: Tensor, *, task: str, void: bool, alpha: float = 0.5) -> Tensor:
    """1 - tp / (tp + alpha · false alarms + (1 - alpha) · misses), as `dice`.

    Source:
        Salehi et al. 2017, Tversky loss function, arXiv:1706.05721.
    """
    build = TverskyLoss(mode=task, ignore_index=_void(void), alpha=alpha, beta=1 - alpha)
    value: Tensor = build(logits, target)
    return value


@parts.loss("lovasz")
def lovasz(logits: Tensor, target: Tensor, *, task: str, void: bool) -> Tensor:
    """Two-class and multilabel tasks: the hinge of each image and output, the mean over them.

    The library would sort the pixels of all outputs of an image together. Where all pixels are
    VOID there is no hinge, and the mean leaves it out. Multiclass tasks: Lovász-Softmax of the
    batch, the mean over the classes that it shows.

    Source:
        Berman et al. 2018, The Lovász-Softmax Loss, arXiv:1705.08790.
    """
    value: Tensor
    if task != "multiclass":
        hinge = LovaszLoss("binary", per_image=True, ignore_index=VOID)
        value = hinge(logits.flatten(0, 1), target.flatten(0, 1))
        if void:  # the library counts planes without a valid pixel as 0
            judged = (target != VOID).flatten(2).any(2)
            value = value * (judged.numel() / judged.sum().clamp_min(1))
    elif (target != VOID).any():
        value = LovaszLoss("multiclass", ignore_index=VOID)(logits, target)
    else:
        value = logits.sum() * 0.0  # the library gives no number here
    return value


def smooth(target: Tensor, amount: float) -> Tensor:
    """Targets moved inwards: 0 becomes `amount`, 1 becomes 1 - `amount`."""
    return target * (1 - 2 * amount) + amount if amount else target


def _void(void: bool) -> int | None:
    return VOID if void else None


def _sigmoid_entropy(
    logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and weight of each pixel and output, both (N, K, H, W)."""
    counts = target != VOID
    soft = smooth(target * counts, smoothing)
    entropy = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
    if weights is None:
        return entropy, counts.to(entropy.dtype)
    return entropy, counts * weights.view(1, -1, 1, 1)


def _softmax_entropy(
    logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and weight of each pixel, both (N, H, W).

    Smoothing gives the right class 1 - `smoothing` and shares the rest among the others: in two
    classes the same as `smooth`. Torch takes what is shared among all of them, the right one too.
    """
    n_classes = logits.shape[1]
    shared = smoothing * n_classes / (n_classes - 1)
    entropy = F.cross_entropy(
        logits, target, ignore_index=VOID, label_smoothing=shared, reduction="none"
    )
    counts = target != VOID
    if weights is None:
        return entropy, counts.to(entropy.dtype)
    return entropy, weights[target * counts] * counts


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean; 0 where nothing has a weight."""
    total = weight.expand_as(values).sum()
    return (values * weight).sum() / torch.where(total > 0, total, 1.0)


def _doubt(cross_entropy: Tensor, gamma: float) -> Tensor:
    return (-torch.expm1(-cross_entropy)).clamp_min(1e-6).pow(gamma)
