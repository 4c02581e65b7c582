"""The training loss: a weighted sum of registered losses, each computed on logits in fp32.

Pixels whose target is VOID count in no part, and no gradient comes from them.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness import parts
from harness.config import LossConfig
from harness.data_config import StudyDataConfig
from harness.errors import ConfigError
from harness.training import loss_parts  # noqa: F401 - registers ours
from harness.training.calling import call_part
from harness.training.checks import check_loss, may_be_void

Shape = Callable[[Tensor], Tensor]


class LossValue(NamedTuple):
    """`total` is what training descends; `parts` are its terms before weighting, detached."""

    total: Tensor
    parts: dict[str, Tensor]


class Loss:
    """Call with logits (N, n_outputs, H, W) and the masks of a batch; see `build_loss`.

    Attributes:
        weights: of each part, adding up to 1.
        class_weights: of each class in the parts that weigh classes; None: all alike.
    """

    def __init__(self, config: LossConfig, data: StudyDataConfig) -> None:
        assert config.class_weights != "balanced", "numbers are worked out from the masks before"
        self.weights, self.class_weights = config.weights, config.class_weights
        given = {
            "task": data.task,
            "void": may_be_void(data),
            "label_smoothing": config.label_smoothing,
        }
        self._terms = {name: _Term(name, config, given) for name in self.weights}
        self._shape = _SHAPES[data.task]
        self._on_device: Tensor | None = None

    def __call__(self, logits: Tensor, target: Tensor) -> LossValue:
        # Sums over a whole batch overflow fp16 and lose small objects in bf16.
        logits, target = logits.float(), self._shape(target)
        weights = self._class_weights(logits.device)
        values = {name: term(logits, target, weights) for name, term in self._terms.items()}
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        return LossValue(total, {name: value.detach() for name, value in values.items()})

    def _class_weights(self, device: torch.device) -> Tensor | None:
        """The weights on the device, sent there once and not in every step."""
        if self.class_weights is None:
            return None
        if self._on_device is None or self._on_device.device != device:
            self._on_device = torch.tensor(self.class_weights, device=device)
        return self._on_device


def build_loss(config: LossConfig, data: StudyDataConfig) -> Loss:
    """The training loss of a configuration; its weights are divided by their sum.

    Targets are uint8: (N, H, W) in {0, 1} in two-class tasks, (N, H, W) of class indices in
    multiclass ones, (N, H, W, K) in {0, 1} in multilabel ones; each may hold VOID.

    dice, jaccard and tversky are of the batch as a whole and of all classes, of which one that the
    batch does not show adds 0. lovasz is the hinge of each image (and class) in two-class and
    multilabel tasks, the softmax of the batch in multiclass ones. Label smoothing and class weights
    act in bce, ce and focal; the other parts compare regions, which stay what they are.

    Class weights beside none of those have no effect, as in some trials of a study that searches
    the weights of the parts.

    Raises:
        ConfigError: parts that cannot act in this task.
    """
    check_loss(config, data, one_draw=True)
    return Loss(config, data)


class _Term:
    """One registered loss with its options."""

    def __init__(self, name: str, config: LossConfig, given: Mapping[str, Any]) -> None:
        self._part = part = parts.find_part("loss", name)
        self._fixed = {key: value for key, value in given.items() if part.takes(key)}
        options = {
            option: getattr(config, f"{name}_{option}", argument.default)
            for option, argument in part.options.items()
        }
        self._fixed |= part.fitted(options)
        self._weighs = part.takes("class_weights")

    def __call__(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        more = {"class_weights": weights} if self._weighs else {}
        value = call_part(self._part, logits=logits, target=target, **self._fixed, **more)
        if not self._part.is_ours:
            _check(value, self._part, logits)
        result: Tensor = value
        return result


def _check(value: Any, part: parts.Part, logits: Tensor) -> None:
    """What a loss of somebody else's must give; its finiteness is looked at with the total's."""
    problem = None
    if not isinstance(value, Tensor) or value.ndim:
        shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else value
        problem = f"must give a tensor with one number (gave {shape!r})"
    elif logits.requires_grad and not value.requires_grad:
        problem = "its value does not depend on the logits, so nothing can be learnt from it"
    if problem is not None:
        raise ConfigError(f"{part.origin}: loss {part.name!r}: {problem}")


def _one_plane(target: Tensor) -> Tensor:
    return target.float().unsqueeze(1)


def _indices(target: Tensor) -> Tensor:
    return target.long()


def _planes(target: Tensor) -> Tensor:
    return target.permute(0, 3, 1, 2).float()


_SHAPES: Mapping[str, Shape] = {
    "binary": _one_plane,
    "multiclass": _indices,
    "multilabel": _planes,
}
