"""The gradient of one batch, in as many parts as the device's memory asks for."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from harness.errors import ConfigError
from harness.training.errors import TooLargeError
from harness.training.losses import Loss, LossValue
from harness.training.memory import Memory, retried
from harness.training.snapshot import Snapshot


class Gradients:
    """Call with inputs (N, C, H, W) and the masks of a batch: its loss; parameters get gradients.

    A batch that does not fit into memory goes through the network in parts of equal size, twice:
    first for all logits, without keeping what a gradient needs; the loss of the whole batch and its
    gradient by logits follow; then part by part for the gradients of the weights, which add up. So
    every loss, also of regions (dice, jaccard) or with weights and void pixels, is that of the
    whole batch, dropout draws the same numbers both times, and clipping, schedule and moving
    average see one step. What differs: BatchNorm normalises each part by itself. No part has a
    single image where memory holds two: see `split_evenly`.

    An attempt that runs out of memory leaves nothing behind: gradients, buffers and random numbers
    are as if it had not been made.

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
        self._before = Snapshot(network, next(network.parameters()).device)

    def __call__(self, inputs: Tensor, target: Tensor) -> LossValue:
        """The loss of the batch, its gradients in the parameters, scaled where there is a scaler.

        Raises:
            ConfigError: the network cannot train on so small a batch.
            TooLargeError: the device's memory does not hold the smallest part of it.
        """
        retried(self._before.take)
        return self._memory.fit(
            lambda at_once: self._once(inputs, target, at_once), undo=self._undo
        )

    def _undo(self) -> None:
        self._network.zero_grad(set_to_none=True)
        self._before.restore()

    def _once(self, inputs: Tensor, target: Tensor, at_once: int) -> LossValue:
        self._network.zero_grad(set_to_none=True)
        if len(inputs) <= at_once:
            value = self._loss(self._logits(inputs), target)
            self._scaler.scale(value.total).backward()  # type: ignore[no-untyped-call]
            return value
        try:
            return self._in_parts(inputs, target, at_once)
        except ConfigError as error:  # a part is too small for BatchNorm, the batch is not
            raise TooLargeError(
                f"out of memory with more than {at_once} of {len(inputs)} images at once, and with "
                "fewer BatchNorm has a single value per channel; use a smaller train.batch_size, "
                "data.image_size or network"
            ) from error

    def _in_parts(self, inputs: Tensor, target: Tensor, at_once: int) -> LossValue:
        parts = split_evenly(len(inputs), at_once)

        def logits_of(part: Part) -> Tensor:
            return self._logits(inputs[part.first : part.end])[part.counted - part.first :]

        try:
            with torch.no_grad():
                whole = torch.cat([logits_of(part) for part in parts])
        finally:
            self._before.restore()
        value = self._loss(whole.requires_grad_(), target)
        (by_logits,) = torch.autograd.grad(self._scaler.scale(value.total), whole)
        for part in parts:
            gradient = by_logits[part.counted : part.end]
            logits_of(part).backward(gradient)  # type: ignore[no-untyped-call]
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


class Part(NamedTuple):
    """Images of a batch that go through together, `[first:end]`, and those that count of them.

    Attributes:
        counted: the first that counts; `[counted:end]` do.
    """

    first: int
    counted: int
    end: int


def split_evenly(n: int, at_once: int) -> list[Part]:
    """Parts of at most `at_once` images that count each of `n` images once, as equal as possible.

    An image that would be alone, though two fit, goes through with the one before it, whose answer
    is not counted again: over a single image BatchNorm has no statistics where features are 1 x 1.
    """
    size, n_larger = divmod(n, -(-n // at_once))
    ends = [0]
    while ends[-1] < n:
        ends.append(ends[-1] + size + (len(ends) <= n_larger))
    lonely = at_once > 1 == size  # then only the last part is so small
    return [Part(first - (lonely and end == n), first, end) for first, end in pairwise(ends)]
