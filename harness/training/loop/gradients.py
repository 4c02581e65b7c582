"""Gradients of one batch, in as many micro-batches as the device's memory needs."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from harness.core.errors import ConfigError
from harness.training.hardware.batch_splitting import MicroBatcher, retry_on_oom
from harness.training.hardware.buffer_snapshot import BufferSnapshot
from harness.training.loop.errors import TooLargeError
from harness.training.loss.combined_loss import CombinedLoss, LossValue


class BatchGradients:
    """Call with inputs (N, C, H, W) and the masks of a batch: its loss; parameters get gradients.

    A batch that does not fit into memory goes through the network in parts of equal size, twice:
    first for all logits, without storing activations; then the loss of the whole batch and its
    gradient with respect to the logits are computed; then the parts go through again for the
    gradients of the weights, which add up. So every loss, also of regions (dice, jaccard) or with
    weights and ignored pixels, is that of the whole batch, dropout draws the same numbers both
    times, and clipping, schedule and moving average see one step. The difference: BatchNorm
    normalises each part by itself. No part has a single image if memory holds two: see
    `split_micro_batches`.

    An attempt that runs out of memory has no effect on gradients, buffers and random states.

    Args:
        forward: the network, perhaps compiled.
        autocast_dtype: type of the arithmetic; None: that of the weights.
    """

    def __init__(
        self,
        network: nn.Module,
        forward: Callable[[Tensor], Tensor],
        loss: CombinedLoss,
        scaler: torch.amp.GradScaler,
        micro_batcher: MicroBatcher,
        *,
        autocast_dtype: torch.dtype | None,
    ) -> None:
        self._network, self._forward, self._loss = network, forward, loss
        self._scaler, self._micro_batcher, self._autocast_dtype = (
            scaler,
            micro_batcher,
            autocast_dtype,
        )
        self._snapshot = BufferSnapshot(network, next(network.parameters()).device)

    def __call__(self, inputs: Tensor, target: Tensor) -> LossValue:
        """Compute the loss; its gradients, times the scale of the scaler, go to the parameters.

        Raises:
            ConfigError: the network cannot train on such a small batch.
            TooLargeError: the device's memory does not hold the smallest part of it.
        """
        retry_on_oom(self._snapshot.update)
        return self._micro_batcher.run(
            lambda at_once: self._backward(inputs, target, at_once), undo=self._reset
        )

    def _reset(self) -> None:
        self._network.zero_grad(set_to_none=True)
        self._snapshot.restore()

    def _backward(self, inputs: Tensor, target: Tensor, micro_batch_size: int) -> LossValue:
        self._network.zero_grad(set_to_none=True)
        if len(inputs) <= micro_batch_size:
            value = self._loss(self._forward_logits(inputs), target)
            self._scaler.scale(value.total).backward()  # type: ignore[no-untyped-call]
            return value
        try:
            return self._backward_in_micro_batches(inputs, target, micro_batch_size)
        except ConfigError as error:  # a part is too small for BatchNorm, the batch is not
            raise TooLargeError(
                f"out of memory with more than {micro_batch_size} of {len(inputs)} images per "
                "pass, and with fewer BatchNorm has a single value per channel; use a smaller "
                "train.batch_size, data.image_size or network"
            ) from error

    def _backward_in_micro_batches(
        self, inputs: Tensor, target: Tensor, micro_batch_size: int
    ) -> LossValue:
        micro_batches = split_micro_batches(len(inputs), micro_batch_size)

        def logits_of(micro_batch: MicroBatch) -> Tensor:
            logits = self._forward_logits(inputs[micro_batch.first : micro_batch.end])
            return logits[micro_batch.first_counted - micro_batch.first :]

        # Two passes as in GradCache (Gao et al. 2021, arXiv:2101.06983). The snapshot is restored
        # in between, so that BatchNorm's running statistics count each image once, and the second
        # pass draws the dropout masks of the first.
        try:
            with torch.no_grad():
                batch_logits = torch.cat([logits_of(micro_batch) for micro_batch in micro_batches])
        finally:
            self._snapshot.restore()
        value = self._loss(batch_logits.requires_grad_(), target)
        (logits_gradient,) = torch.autograd.grad(self._scaler.scale(value.total), batch_logits)
        for micro_batch in micro_batches:
            gradient = logits_gradient[micro_batch.first_counted : micro_batch.end]
            logits_of(micro_batch).backward(gradient)  # type: ignore[no-untyped-call]
        return LossValue(value.total.detach(), value.parts)

    def _forward_logits(self, inputs: Tensor) -> Tensor:
        device = inputs.device.type
        try:
            with torch.autocast(
                device, dtype=self._autocast_dtype, enabled=self._autocast_dtype is not None
            ):
                return self._forward(inputs)
        except ValueError as error:
            # torch has no exception type of its own for this case, so that its text must decide.
            if "more than 1 value per channel" not in str(error):
                raise
            raise ConfigError(
                f"train.batch_size: BatchNorm has a single value per channel in a batch of "
                f"{len(inputs)} at {inputs.shape[2]} x {inputs.shape[3]} pixels; use at least 2 "
                "images per batch, or a larger data.image_size"
            ) from error


class MicroBatch(NamedTuple):
    """Images `[first:end]` of a batch that go through the network together.

    Attributes:
        first_counted: logits of `[first_counted:end]` are used; the others only support BatchNorm.
    """

    first: int
    first_counted: int
    end: int


def split_micro_batches(n: int, micro_batch_size: int) -> list[MicroBatch]:
    """Split `n` images into parts of at most `micro_batch_size`, as equal as possible.

    Each image is counted once. An image that would be alone, though two fit, goes through together
    with the one before it, whose logits are not used again: with a single image BatchNorm has no
    statistics at features of 1 x 1 pixels.
    """
    size, n_larger = divmod(n, -(-n // micro_batch_size))
    ends = [0]
    while ends[-1] < n:
        ends.append(ends[-1] + size + (len(ends) <= n_larger))
    last_is_single = micro_batch_size > 1 == size  # then only the last part is so small
    return [
        MicroBatch(first - (last_is_single and end == n), first, end)
        for first, end in pairwise(ends)
    ]
