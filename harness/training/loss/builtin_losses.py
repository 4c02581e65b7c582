"""Built-in losses: each registered by name, called with logits in fp32 and the task's target.

Shapes are those of `harness.config.components.loss`. Pixels whose target is
IGNORE_INDEX have no effect on value or gradient.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from numpy.typing import NDArray
from segmentation_models_pytorch.losses import DiceLoss, JaccardLoss, LovaszLoss, TverskyLoss
from torch import Tensor

from harness.config import components
from harness.config.data import IGNORE_INDEX


@components.loss("dice")
def dice(logits: Tensor, target: Tensor, *, task: str, void: bool) -> Tensor:
    """1 - Dice of the whole batch, the mean over classes; a class without pixels adds 0.

    So its value depends on the batch size (segmentation-models-pytorch issue 712).
    """
    value: Tensor = DiceLoss(mode=task, ignore_index=_ignore_index(void))(logits, target)
    return value


@components.loss("bce")
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
        return F.binary_cross_entropy_with_logits(logits, smooth_labels(target, label_smoothing))
    return _weighted_mean(*_sigmoid_entropy(logits, target, label_smoothing, class_weights))


@components.loss("ce")
def ce(
    logits: Tensor,
    target: Tensor,
    *,
    task: str,
    void: bool,
    label_smoothing: float,
    class_weights: Tensor | None,
) -> Tensor:
    """Cross-entropy of the task, so that one search space fits every task.

    Multiclass tasks: the weighted mean over pixels, with the weight of the true class.
    Two-class and multilabel tasks: `bce`.
    """
    if task == "multiclass":
        return _weighted_mean(*_softmax_entropy(logits, target, label_smoothing, class_weights))
    return bce(
        logits, target, void=void, label_smoothing=label_smoothing, class_weights=class_weights
    )


@components.loss("focal")
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
    """Focal loss (1 - q)^gamma · -log q, q the probability of the true class; a weighted mean.

    Not the library's function: its gradient is NaN for gamma < 1 as soon as one pixel is certain.
    There 1 - q rounds to 0, and the derivative of its power to infinity.

    Source:
        Lin et al. 2017, Focal Loss for Dense Object Detection, equation 4.
    """
    if task != "multiclass" and not void and class_weights is None:
        soft_target = smooth_labels(target, label_smoothing)
        entropy = F.binary_cross_entropy_with_logits(logits, soft_target, reduction="none")
        return (_focal_factor(entropy, gamma) * entropy).mean()
    entropy_function = _softmax_entropy if task == "multiclass" else _sigmoid_entropy
    entropy, weight = entropy_function(logits, target, label_smoothing, class_weights)
    return _weighted_mean(_focal_factor(entropy, gamma) * entropy, weight)


@components.loss("jaccard")
def jaccard(logits: Tensor, target: Tensor, *, task: str, void: bool) -> Tensor:
    """1 - intersection over union of the whole batch, as `dice`."""
    value: Tensor = JaccardLoss(mode=task, ignore_index=_ignore_index(void))(logits, target)
    return value


@components.loss("tversky")
def tversky(logits: Tensor, target: Tensor, *, task: str, void: bool, alpha: float = 0.5) -> Tensor:
    """1 - tp / (tp + alpha · false alarms + (1 - alpha) · misses), as `dice`.

    Source:
        Salehi et al. 2017, Tversky loss function, arXiv:1706.05721.
    """
    loss = TverskyLoss(mode=task, ignore_index=_ignore_index(void), alpha=alpha, beta=1 - alpha)
    value: Tensor = loss(logits, target)
    return value


@components.loss("lovasz")
def lovasz(logits: Tensor, target: Tensor, *, task: str, void: bool) -> Tensor:
    """Lovász extension of the Jaccard loss.

    Two-class and multilabel tasks: the hinge of each image and output, and the mean over them; the
    library would sort the pixels of all outputs of an image together. A plane without a valid pixel
    is left out of the mean. Multiclass tasks: Lovász-Softmax of the batch, the mean over the
    classes that have pixels in it.

    Source:
        Berman et al. 2018, The Lovász-Softmax Loss, arXiv:1705.08790.
    """
    value: Tensor
    if task != "multiclass":
        hinge = LovaszLoss("binary", per_image=True, ignore_index=IGNORE_INDEX)
        value = hinge(logits.flatten(0, 1), target.flatten(0, 1))
        if void:  # the library adds 0 for a plane without a valid pixel: correct the divisor
            has_valid_pixels = (target != IGNORE_INDEX).flatten(2).any(2)
            value = value * (has_valid_pixels.numel() / has_valid_pixels.sum().clamp_min(1))
    elif (target != IGNORE_INDEX).any():
        value = LovaszLoss("multiclass", ignore_index=IGNORE_INDEX)(logits, target)
    else:
        value = logits.sum() * 0.0  # the library returns NaN here; this keeps a gradient of 0
    return value


@components.loss("boundary")
def boundary(logits: Tensor, target: Tensor, *, task: str) -> Tensor:
    """Mean over pixels and outputs of the probability times the signed distance to the true edge.

    Distances are in pixels of the training size, negative inside an object and positive outside.
    The value is therefore negative where a prediction fits, and a weight acts twice as strongly at
    twice the size. A class that an image does not show adds 0 there, so false positives in such an
    image cost nothing: the loss must be combined with another one, as in the paper.

    Source:
        Kervadec et al. 2019, Boundary loss for highly unbalanced segmentation, equation 5,
        arXiv:1812.07032; distances as in the authors' code.
    """
    planes = _class_planes(target, logits.shape[1]) if task == "multiclass" else target
    is_valid = planes != IGNORE_INDEX
    # The exact distance transform exists on the CPU only, so that a GPU waits for it in every step:
    # 3 ms for a plane of 352 x 352 pixels on one core (measured).
    masks = planes.cpu().numpy().astype(np.uint8)
    distance = torch.from_numpy(_signed_distances(masks)).to(logits.device)
    probability = logits.softmax(1) if task == "multiclass" else logits.sigmoid()
    return (probability * distance).sum() / is_valid.sum().clamp_min(1)


def smooth_labels(target: Tensor, amount: float) -> Tensor:
    """Move binary targets inwards: 0 becomes `amount`, 1 becomes 1 - `amount`."""
    return target * (1 - 2 * amount) + amount if amount else target


def _ignore_index(void: bool) -> int | None:
    return IGNORE_INDEX if void else None


def _class_planes(target: Tensor, n_classes: int) -> Tensor:
    """Class indices (N, H, W) as one plane of 0, 1 and IGNORE_INDEX per class."""
    classes = torch.arange(n_classes, device=target.device).view(1, -1, 1, 1)
    planes = (target.unsqueeze(1) == classes).to(target.dtype)
    return torch.where(target.unsqueeze(1) == IGNORE_INDEX, IGNORE_INDEX, planes)


def _signed_distances(masks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Signed distance map of each plane (N, K, H, W): 0 and IGNORE_INDEX count as in a target.

    Outside: the distance to the nearest pixel of the object. Inside: minus the distance to the
    nearest pixel of the background, plus 1, so that the outermost pixels of the object have 0.
    Ignored pixels have 0 and are never the nearest pixel. All of a plane is 0 if it shows no object
    or no background: it has no edge, and OpenCV's distances would be meaningless.
    """
    distances = np.zeros(masks.shape, np.float32)
    for n, k in np.ndindex(masks.shape[:2]):
        is_object, is_background = masks[n, k] == 1, masks[n, k] == 0
        if is_object.any() and is_background.any():
            distances[n, k][is_background] = _distance_to(is_object)[is_background]
            distances[n, k][is_object] = 1 - _distance_to(is_background)[is_object]
    return distances


def _distance_to(region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Euclidean distance of every pixel to the nearest one of a region."""
    # cv2 measures the distance to zeros. PRECISE is exact; the 5x5 mask approximates.
    zeros = np.logical_not(region).astype(np.uint8)
    result = cv2.distanceTransform(zeros, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(result, np.float32)


def _sigmoid_entropy(
    logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and weight of each pixel and output, both (N, K, H, W)."""
    is_valid = target != IGNORE_INDEX
    # IGNORE_INDEX is 255, which is no target of this loss: 0 takes its place, with a weight of 0.
    soft_target = smooth_labels(target * is_valid, smoothing)
    entropy = F.binary_cross_entropy_with_logits(logits, soft_target, reduction="none")
    if weights is None:
        return entropy, is_valid.to(entropy.dtype)
    return entropy, is_valid * weights.view(1, -1, 1, 1)


def _softmax_entropy(
    logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and weight of each pixel, both (N, H, W).

    Smoothing gives the true class 1 - `smoothing` and divides the rest among the others: with two
    classes the same as `smooth_labels`. Torch's parameter is the amount that is divided among all
    K classes including the true one, hence the factor K / (K - 1).
    """
    n_classes = logits.shape[1]
    torch_smoothing = smoothing * n_classes / (n_classes - 1)
    entropy = F.cross_entropy(
        logits, target, ignore_index=IGNORE_INDEX, label_smoothing=torch_smoothing, reduction="none"
    )
    is_valid = target != IGNORE_INDEX
    if weights is None:
        return entropy, is_valid.to(entropy.dtype)
    # An index of 255 would be out of bounds (on CUDA a device assert that ends the process).
    return entropy, weights[target * is_valid] * is_valid


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean; 0 if all weights are 0, with a gradient of 0 instead of NaN."""
    total = weight.expand_as(values).sum()
    return (values * weight).sum() / torch.where(total > 0, total, 1.0)


def _focal_factor(cross_entropy: Tensor, gamma: float) -> Tensor:
    # 1 - q as -expm1(log q), exact for q near 1; the lower bound keeps the derivative of the power
    # finite for gamma < 1.
    return (-torch.expm1(-cross_entropy)).clamp_min(1e-6).pow(gamma)
