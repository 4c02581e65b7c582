"""The gradient of one batch, in as many parts as the device's memory asks for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from harness.errors import ConfigError
from harness.training.errors import TooLargeError
from harness.training.losses import Loss, LossValue
from harness.training.memory import Memory


class Gradients:
    """Call with inputs (N, C, H, W) and the masks of a batch: its loss; parameters get gradients.

    A batch that does not fit into memory goes through the network in parts of equal size, twice:
    first for all logits, without keeping what a gradient needs; the loss of the whole batch and its
    gradient by logits follow; then part by part for the gradients of the weights, which add up. So
    every loss, also of regions (dice, jaccard) or with weights and void pixels, is that of the
    whole batch, dropout draws the same numbers both times, and clipping, schedule and moving
    average see one step. What differs: BatchNorm normalises each part by itself.

    Args:
        forward: the network, perhaps compiled.
        half: the type of its arithmetic; None: that of its weights.
    """

    def __init__(
        self,
        network: nn.Module,
        forward: Callable[[Tensor], Tensor],
        loss: Loss,
        scaler: torch.amp.GradScaler,
        memory: Memory,
        *,
        half: torch.dtype | None,
    ) -> None:
        self._network, self._forward, self._loss = network, forward, loss
        self._scaler, self._memory, self._half = scaler, memory, half

    def __call__(self, inputs: Tensor, target: Tensor) -> LossValue:
        """The loss of the batch, its gradients in the parameters, scaled where there is a scaler.

        Raises:
            ConfigError: the network cannot train on so small a batch.
            TooLargeError: the device's memory does not hold the smallest part of it.
        """
        return self._memory.fit(lambda at_once: self._once(inputs, target, at_once))

    def _once(self, inputs: Tensor, target: Tensor, at_once: int) -> LossValue:
        self._network.zero_grad(set_to_none=True)
        if len(inputs) <= at_once:
            value = self._loss(self._logits(inputs), target)
            self._scaler.scale(value.total).backward()  # type: ignore[no-untyped-call]
            return value
        parts = inputs.tensor_split(-(-len(inputs) // at_once))
        try:
            return self._in_parts(parts, target)
        except ConfigError as error:  # a part is too small for BatchNorm, the batch is not
            raise TooLargeError(
                f"out of memory with more than {at_once} of {len(inputs)} images at once, and with "
                "fewer BatchNorm has a single value per channel; use a smaller train.batch_size, "
                "data.image_size or network"
            ) from error

    def _in_parts(self, parts: tuple[Tensor, ...], target: Tensor) -> LossValue:
        with torch.no_grad(), _replayed(self._network, parts[0].device):
            whole = torch.cat([self._logits(part) for part in parts])
        value = self._loss(whole.requires_grad_(), target)
        (by_logits,) = torch.autograd.grad(self._scaler.scale(value.total), whole)
        for part, gradient in zip(parts, by_logits.tensor_split(len(parts)), strict=True):
            self._logits(part).backward(gradient)  # type: ignore[no-untyped-call]
        return LossValue(value.total.detach(), value.parts)

    def _logits(self, inputs: Tensor) -> Tensor:
        device = inputs.device.type
        try:
            with torch.autocast(device, dtype=self._half, enabled=self._half is not None):
                return self._forward(inputs)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ConfigError(
                f"train.batch_size: BatchNorm has a single value per channel in a batch of "
                f"{len(inputs)} at {inputs.shape[2]} x {inputs.shape[3]} pixels; use at least 2 "
                "images per batch, or a larger data.image_size"
            ) from error


@contextmanager
def _replayed(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Whatever is done to running statistics and to torch's random numbers is undone."""
    before = [buffer.clone() for buffer in network.buffers()]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield
    for buffer, old in zip(network.buffers(), before, strict=True):
        buffer.copy_(old)
