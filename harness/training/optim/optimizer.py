"""Optimiser with its two rates, freezing of weights, and moving average of the weights.

Weight decay acts on matrices and kernels alone, not on biases and the scales of norms: these
cannot overfit, and decaying them only works against the norm (He et al. 2019, "Bag of tricks").
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from harness.config.study import OptimConfig
from harness.core.errors import ConfigError
from harness.models.build import split_parameters
from harness.training.loop.errors import TooLargeError, is_out_of_memory
from harness.training.optim.schedule import RateSchedule

ADAM_BETAS = (0.9, 0.999)
_IMPLEMENTATION_KEYS = ("fused", "foreach", "capturable", "differentiable")
ONECYCLE_BETA1 = 0.95  # torch's OneCycleLR: the momentum away from the peak


def build_optimizer(network: nn.Module, config: OptimConfig) -> Optimizer:
    """Build the optimiser over groups of parameters, none of them empty.

    Each group stores its `part` (encoder or rest), its peak rate as `peak_lr` and its momentum as
    `peak_momentum`; a group with `weight_decay` 0 holds the biases and scales of its part.
    """
    groups = _parameter_groups(network, config)
    fused = next(network.parameters()).device.type in ("cpu", "cuda")  # 5 % faster
    optimizer: Optimizer
    if config.name == "sgd":
        optimizer = SGD(groups, lr=config.lr, momentum=config.momentum, fused=fused)
        momentum = config.momentum
    else:
        optimizer_class = AdamW if config.name == "adamw" else Adam
        optimizer = optimizer_class(groups, lr=config.lr, betas=ADAM_BETAS, fused=fused)
        momentum = ONECYCLE_BETA1 if config.schedule == "onecycle" else ADAM_BETAS[0]
    for group in optimizer.param_groups:
        group["peak_momentum"] = momentum
    return optimizer


def _parameter_groups(network: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = []
    parts = zip(("encoder", "rest"), split_parameters(network), config.peak_rates, strict=True)
    for part, parameters, rate in parts:
        shared_options = {"part": part, "lr": rate, "peak_lr": rate}
        decayed = [p for p in parameters if p.ndim > 1]
        undecayed = [p for p in parameters if p.ndim <= 1]
        groups.append({"params": decayed, "weight_decay": config.weight_decay, **shared_options})
        groups.append({"params": undecayed, "weight_decay": 0.0, **shared_options})
    return [group for group in groups if group["params"]]


def load_optimizer_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load a `state_dict`, perhaps on another kind of device.

    A group also stores the implementation of its steps (fused, foreach). Those of the optimizer
    itself are kept, since each kind of device supports others.
    """
    implementations = [
        {key: group[key] for key in _IMPLEMENTATION_KEYS if key in group}
        for group in optimizer.param_groups
    ]
    groups = [
        saved_group | implementation
        for saved_group, implementation in zip(state["param_groups"], implementations, strict=True)
    ]
    optimizer.load_state_dict(state | {"param_groups": groups})


def optimizer_step(optimizer: Optimizer, step: Callable[[], object]) -> None:
    """Run an optimizer step, of which the first allocates the state: once or twice the weights.

    It cannot be retried when memory runs out, since the weights of one group may be updated before
    another group fails; and smaller micro-batches would need the same memory.

    Args:
        step: steps the optimizer, perhaps through a gradient scaler.

    Raises:
        TooLargeError: the optimizer's state does not fit into memory.
    """
    try:
        step()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise TooLargeError(
            f"weights and gradients fit into memory, but not the state of "
            f"{type(optimizer).__name__}; use a smaller network, or optim.name: sgd ({error})"
        ) from error


def set_rates(optimizer: Optimizer, schedule: RateSchedule, step: int) -> None:
    """Set the learning rates (and under onecycle the momentum) for `step`, from 0."""
    factor = schedule.factor(step)
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
        momentum = schedule.momentum(step, group["peak_momentum"])
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        else:
            group["momentum"] = momentum


def current_rates(optimizer: Optimizer) -> dict[str, float]:
    """Current rates by part: encoder and rest, if the network has both.

    The rate of a frozen part is 0.
    """
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        trained = any(parameter.requires_grad for parameter in group["params"])
        rates[group["part"]] = max(
            rates.get(group["part"], 0.0), float(group["lr"]) if trained else 0.0
        )
    return rates


@dataclass
class _FrozenWeights:
    """Frozen parts of a network, by name.

    Names and not objects: a module may refer to the whole network, and the entry in
    `_FROZEN_WEIGHTS` would then keep that network in memory for ever.

    Attributes:
        eval_modules: modules that the network keeps in evaluation mode.
        frozen_parameters: parameters that `set_train_mode` has frozen.
    """

    eval_modules: frozenset[str]
    frozen_parameters: set[str] = field(default_factory=set)


_FROZEN_WEIGHTS: WeakKeyDictionary[nn.Module, _FrozenWeights] = WeakKeyDictionary()


def record_frozen_weights(network: nn.Module) -> None:
    """Record the modules that a newly built network keeps in evaluation mode.

    These are the modules in evaluation mode all of whose weights are frozen. Evaluation mode alone
    is no evidence: libraries return pretrained networks in that mode which are meant to be trained.
    """
    eval_modules = {
        name
        for name, module in network.named_modules()
        if network.training and not module.training and _is_frozen(module)
    }
    _FROZEN_WEIGHTS[network] = _FrozenWeights(frozenset(eval_modules))


def set_train_mode(network: nn.Module, *, encoder_frozen: bool) -> None:
    """Set training mode; a frozen encoder gets no gradients and keeps its BatchNorm statistics.

    Weights that the network itself froze stay frozen, see `record_frozen_weights`.

    The network's own `freeze_encoder` is not used: after it, `eval()` of the network leaves the
    encoder's dropout and stochastic depth on.

    Raises:
        ConfigError: there is no weight to train.
    """
    if network not in _FROZEN_WEIGHTS:
        record_frozen_weights(network)
    frozen = _FROZEN_WEIGHTS[network]
    # Order matters: train() turns all modules on, and the exceptions follow.
    network.train()
    for name in frozen.eval_modules:
        network.get_submodule(name).eval()
    encoder = getattr(network, "encoder", None)
    if isinstance(encoder, nn.Module):  # a network without one has nothing to freeze
        _set_encoder_frozen(encoder, frozen, encoder_frozen)
    if _is_frozen(network):
        raise ConfigError(
            "model.arch: the network has no weight to train; leave some of them unfrozen"
            + (", or set train.freeze_encoder_epochs to 0" if encoder_frozen else "")
        )


def _set_encoder_frozen(encoder: nn.Module, frozen: _FrozenWeights, encoder_frozen: bool) -> None:
    for name, parameter in encoder.named_parameters():
        if encoder_frozen and parameter.requires_grad:
            parameter.requires_grad_(False)
            frozen.frozen_parameters.add(name)
        # Only what was frozen here: a user's network may have frozen weights of its own for good.
        elif not encoder_frozen and name in frozen.frozen_parameters:
            parameter.requires_grad_(True)
    if encoder_frozen:
        encoder.eval()
    else:
        frozen.frozen_parameters.clear()


def _is_frozen(module: nn.Module) -> bool:
    """True if a module has weights and all of them are frozen."""
    trained = [parameter.requires_grad for parameter in module.parameters()]
    return bool(trained) and not any(trained)


class MovingAverage:
    """Exponential moving average of a network's weights and statistics.

    The decay rises from 0.1 to its own value over the first steps, (1 + n) / (10 + n), as in
    TensorFlow's ExponentialMovingAverage; otherwise the random initial weights would dominate the
    average of a short training.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._decay = decay
        self._weights = list(zip(self.network.parameters(), network.parameters(), strict=True))
        saved = network.state_dict().keys()
        modules = zip(self.network.modules(), network.named_modules(), strict=True)
        # By name, as a network may replace a buffer instead of changing it in place.
        self._buffers = [
            (averaged._buffers, trained._buffers, name)
            for averaged, (path, trained) in modules
            for name in trained._buffers
            if (f"{path}.{name}" if path else name) in saved
        ]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after `step`, from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        buffers = ((averaged[name], trained[name]) for averaged, trained, name in self._buffers)
        averages, currents = [], []
        for average, current in chain(self._weights, buffers):
            if average is None or current is None:
                continue
            # Integer buffers such as BatchNorm's num_batches_tracked have no mean.
            if average.dtype.is_floating_point:
                averages.append(average)
                currents.append(current)
            else:
                average.copy_(current)
        # One call instead of hundreds, with the digits of lerp_. Private, but torch's own moving
        # average computes with it (torch.optim.swa_utils).
        torch._foreach_lerp_(averages, currents, 1 - decay)
