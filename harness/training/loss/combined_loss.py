"""The training loss: a weighted sum of registered losses, each computed on logits in fp32.

Pixels whose target is IGNORE_INDEX have no effect on value or gradient. With `loss.class_weights:
balanced`, the class weights are computed from the training masks.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.config import components
from harness.config.component_interface import Component
from harness.config.data import StudyDataConfig
from harness.config.study import LossConfig, TrialConfig
from harness.core.errors import ConfigError
from harness.data.loading.mask_counts import MaskCounts
from harness.training.loss import builtin_losses  # noqa: F401 - registers ours
from harness.training.loss.task_checks import check_loss_for_task, may_have_ignored_pixels
from harness.training.loss.user_code import call_component

TargetFormat = Callable[[Tensor], Tensor]


class LossValue(NamedTuple):
    """Value of the training loss: `total`, and its terms before weighting, detached, in `parts`."""

    total: Tensor
    parts: dict[str, Tensor]


class CombinedLoss:
    """Call with logits (N, n_outputs, H, W) and the masks of a batch; see `build_training_loss`.

    Attributes:
        weights: weight of each part; they add up to 1.
        class_weights: weight of each class, in the parts that support it; None: all equal.
    """

    def __init__(self, config: LossConfig, data: StudyDataConfig) -> None:
        assert config.class_weights != "balanced", (
            "the numbers must be computed from the masks before"
        )
        self.weights, self.class_weights = config.weights, config.class_weights
        context = {
            "task": data.task,
            "void": may_have_ignored_pixels(data),
            "label_smoothing": config.label_smoothing,
        }
        self._terms = {name: _LossTerm(name, config, context) for name in self.weights}
        self._format_target = _TARGET_FORMATS[data.task]
        self._class_weights_tensor: Tensor | None = None

    def __call__(self, logits: Tensor, target: Tensor) -> LossValue:
        # Sums over a whole batch overflow fp16 and lose small objects in bf16.
        logits, target = logits.float(), self._format_target(target)
        weights = self._class_weights_on(logits.device)
        values = {name: term(logits, target, weights) for name, term in self._terms.items()}
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        return LossValue(total, {name: value.detach() for name, value in values.items()})

    def _class_weights_on(self, device: torch.device) -> Tensor | None:
        """The weights on a device, copied there once and not in every step."""
        if self.class_weights is None:
            return None
        if self._class_weights_tensor is None or self._class_weights_tensor.device != device:
            self._class_weights_tensor = torch.tensor(self.class_weights, device=device)
        return self._class_weights_tensor


def build_training_loss(config: LossConfig, data: StudyDataConfig) -> CombinedLoss:
    """Build the training loss of a configuration; its weights are divided by their sum.

    Targets are uint8: (N, H, W) in {0, 1} in two-class tasks, (N, H, W) of class indices in
    multiclass ones, (N, H, W, K) in {0, 1} in multilabel ones; each may hold
    IGNORE_INDEX.

    dice, jaccard and tversky are those of the whole batch and of all classes; a class without
    pixels in the batch adds 0. lovasz is the hinge of each image (and class) in two-class and
    multilabel tasks, the softmax of the batch in multiclass tasks. Label smoothing and class
    weights act in bce, ce and focal alone, since the other parts compare regions.

    Class weights without one of those parts have no effect, as in some trials of a study that
    searches the weights of the parts.

    Raises:
        ConfigError: a part is not defined for this task.
    """
    check_loss_for_task(config, data, is_sampled_config=True)
    return CombinedLoss(config, data)


class _LossTerm:
    """One registered loss with its options."""

    def __init__(self, name: str, config: LossConfig, context: Mapping[str, Any]) -> None:
        self._part = part = components.find_component("loss", name)
        self._arguments = {key: value for key, value in context.items() if part.accepts(key)}
        options = {
            option: getattr(config, f"{name}_{option}", argument.default)
            for option, argument in part.options.items()
        }
        self._arguments |= part.coerce_options(options)
        self._takes_class_weights = part.accepts("class_weights")

    def __call__(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        weight_arguments = {"class_weights": weights} if self._takes_class_weights else {}
        value = call_component(
            self._part, logits=logits, target=target, **self._arguments, **weight_arguments
        )
        if not self._part.is_builtin:
            _check_loss_value(value, self._part, logits)
        result: Tensor = value
        return result


def _check_loss_value(value: Any, part: Component, logits: Tensor) -> None:
    """Check the value of a user-defined loss; the trainer checks that the total is finite."""
    problem = None
    if not isinstance(value, Tensor) or value.ndim:
        shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else value
        problem = f"must give a tensor with one number (gave {shape!r})"
    elif logits.requires_grad and not value.requires_grad:
        problem = "its value does not depend on the logits, so it has no gradient"
    if problem is not None:
        raise ConfigError(f"{part.origin}: loss {part.name!r}: {problem}")


def _binary_planes(target: Tensor) -> Tensor:
    return target.float().unsqueeze(1)


def _class_indices(target: Tensor) -> Tensor:
    # int64, since torch takes an index of type uint8 for a mask.
    return target.long()


def _multilabel_planes(target: Tensor) -> Tensor:
    return target.permute(0, 3, 1, 2).float()


_TARGET_FORMATS: Mapping[str, TargetFormat] = {
    "binary": _binary_planes,
    "multiclass": _class_indices,
    "multilabel": _multilabel_planes,
}


def median_frequency_weights(counts: MaskCounts) -> tuple[float, ...]:
    """Compute class weights by median frequency balancing: w_c = median(f) / f_c.

    f_c is the share of class c in the pixels of the training images that contain it, without
    ignored pixels and padding. A class that no training image contains has the weight 1, and is not
    part of the median.

    Args:
        counts: of all training images, independent of `data.subset`.

    Returns:
        One weight for each class of the task, rounded to 6 significant digits.
    Source:
        Eigen and Fergus 2015, Predicting Depth, Surface Normals and Semantic Labels with a Common
        Multi-Scale Convolutional Architecture, section 6.3.2.
    """
    class_pixels = counts.class_pixels.sum(axis=0)
    image_pixels = np.where(counts.class_pixels > 0, counts.valid_pixels, 0).sum(axis=0)
    frequency = np.divide(
        class_pixels, image_pixels, out=np.full(len(class_pixels), np.nan), where=image_pixels > 0
    )
    # A class without pixels has the frequency NaN, which nanmedian skips and nan_to_num makes 1.
    weights = np.nan_to_num(np.nanmedian(frequency) / frequency, nan=1.0)
    return tuple(float(f"{weight:.6g}") for weight in weights)


def resolve_class_weights(
    config: TrialConfig, data: StudyDataConfig, count_masks: Callable[[], MaskCounts]
) -> tuple[TrialConfig, dict[str, float]]:
    """Replace `balanced` in a configuration by numbers; return it with these numbers by class.

    Any other configuration is returned unchanged, with {}.

    Args:
        count_masks: counts the pixels of all training masks.
    """
    if config.loss.class_weights != "balanced":
        return config, {}
    weights = median_frequency_weights(count_masks())
    loss = LossConfig.model_validate(config.loss.model_dump() | {"class_weights": weights})
    by_class = dict(zip(data.classes, weights, strict=True))
    return config.model_copy(update={"loss": loss}), by_class
