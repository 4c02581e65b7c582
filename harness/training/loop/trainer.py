"""Training loop of one network: everything that changes from step to step."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.config.data import StudyDataConfig
from harness.config.study import TrialConfig
from harness.data.loading.batches import EpochBatches
from harness.training.hardware.batch_splitting import MicroBatcher, retry_on_oom
from harness.training.hardware.buffer_snapshot import random_states, set_random_states
from harness.training.hardware.device_facts import Precision
from harness.training.hardware.device_sync import AsyncScalar
from harness.training.hardware.normalizer import ImageArray, ImageNormalizer, to_device
from harness.training.loop.errors import DivergedError, TrainingInterruptedError
from harness.training.loop.gradients import BatchGradients
from harness.training.loss.combined_loss import CombinedLoss, build_training_loss
from harness.training.optim.optimizer import (
    MovingAverage,
    build_optimizer,
    current_rates,
    load_optimizer_state,
    optimizer_step,
    set_rates,
    set_train_mode,
)
from harness.training.optim.schedule import RateSchedule, build_schedule

_CHECK_EVERY = 16  # steps between two checks that the loss is finite


class Trainer:
    """Trains a network epoch by epoch.

    Attributes:
        network: what the optimiser changes.
        eval_model: the network that is validated and saved: the moving average if there is one,
            otherwise `network`.
        partial_epoch: progress in an unfinished epoch; None between epochs.
    """

    def __init__(
        self,
        network: nn.Module,
        config: TrialConfig,
        batches: EpochBatches,
        normalizer: ImageNormalizer,
        *,
        data: StudyDataConfig,
        seed: int,
        device: torch.device,
        precision: Precision,
        micro_batcher: MicroBatcher | None = None,
    ) -> None:
        self.network, self._config, self._batches = network, config, batches
        self._seed, self._device = seed, device
        self._normalizer = normalizer
        forward: Callable[[Tensor], Tensor] = network
        if config.train.compile:
            # Compilations for earlier networks count towards a limit, above which torch silently
            # stops compiling: a warm process would give other numbers than a fresh one.
            torch.compiler.reset()
            forward = torch.compile(network)
        self._loss = build_training_loss(config.loss, data)
        self._optimizer = build_optimizer(network, config.optim)
        self._schedule: RateSchedule = build_schedule(
            config.optim, epochs=config.train.epochs, steps_per_epoch=len(batches)
        )
        autocast_dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}[precision]
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._gradients = BatchGradients(
            network,
            forward,
            self._loss,
            self._scaler,
            micro_batcher or MicroBatcher(config.train.batch_size),
            autocast_dtype=autocast_dtype,
        )
        decay = config.train.ema_decay
        self._average = None if decay is None else MovingAverage(network, decay)
        self.partial_epoch: dict[str, Any] | None = None
        self._position: tuple[int, int, dict[str, Tensor]] | None = None

    @property
    def eval_model(self) -> nn.Module:
        return self.network if self._average is None else self._average.network

    def train_epoch(
        self, n: int, should_stop: Callable[[], bool] = lambda: False
    ) -> dict[str, float]:
        """Train epoch `n`, from 1; the result is the same in whichever process earlier ones ran.

        Args:
            should_stop: called after each step; True stops there, and `state` then includes the
                position. It may call `mark_partial_epoch` and keep `state`, too.

        Returns:
            train/loss, the mean over steps, and train/loss_<part> if there are several parts;
            optim/lr and optim/encoder_lr, the rates of the last step; 0 for a part of the network
            that is frozen.

        Raises:
            DivergedError: the loss is not finite.
            ConfigError: the network cannot train on such a small batch.
            TooLargeError: the device's memory does not hold the smallest part of a batch.
            TrainingInterruptedError: `should_stop` returned True.
        """
        partial_epoch = (
            self.partial_epoch
            if self.partial_epoch is not None and self.partial_epoch["epoch"] == n
            else None
        )
        n_steps_done = 0 if partial_epoch is None else partial_epoch["steps"]
        totals: dict[str, Tensor] = {} if partial_epoch is None else partial_epoch["totals"]
        # Each check reads the loss of the check before: by then the copy has arrived.
        pending_loss: AsyncScalar | None = None
        checked_values: dict[str, Tensor] = {}  # all values of the step of `pending_loss`
        for k, values in enumerate(self.train_steps(n, n_steps_done), start=n_steps_done):
            # Sums stay on the device: reading each step's loss would make a GPU wait for the host.
            totals = retry_on_oom(partial(_add_values, totals, values))
            if k % _CHECK_EVERY == 0:
                if pending_loss is not None and not math.isfinite(pending_loss.read()):
                    break
                pending_loss, checked_values = (
                    retry_on_oom(partial(AsyncScalar, values["loss"])),
                    values,
                )
            self._position = (n, k + 1, totals)
            if should_stop():
                self.mark_partial_epoch()
                raise TrainingInterruptedError(f"stopped after step {k + 1} of epoch {n}")
        self._position = (n, len(self._batches), totals)
        self.mark_partial_epoch()
        sums = retry_on_oom(partial(_to_floats, totals))
        if not math.isfinite(sums["loss"]):
            # Report the earlier values if they show the fault: NaN in the weights soon makes every
            # part of the loss NaN, and the error must name the part that was first.
            first_values = _to_floats(checked_values) if checked_values else sums
            raise _divergence_error(
                sums if math.isfinite(first_values["loss"]) else first_values, n, self._loss
            )
        means = {f"train/{name}": total / len(self._batches) for name, total in sums.items()}
        return means | self._rates()

    def epoch_progress(self) -> tuple[int, int, float] | None:
        """Steps of this epoch so far, all its steps, and the mean loss; None between epochs.

        Reads the loss from the device, which a GPU must wait for: not to be called at each step.
        """
        if self._position is None:
            return None
        _, steps, totals = self._position
        return steps, len(self._batches), _to_floats(totals)["loss"] / steps

    def train_steps(self, n: int, n_steps_done: int = 0) -> Iterator[dict[str, Tensor]]:
        """Train epoch `n`, from 1, and yield each step's loss and its parts, still on the device.

        Args:
            n_steps_done: finished steps according to `partial_epoch`.
        """
        # Seeds the generators of all devices, CUDA included.
        torch.manual_seed(epoch_seed(self._seed, n))
        if n_steps_done and self.partial_epoch is not None:
            set_random_states(self.partial_epoch["random"], self._device)
        frozen = n <= self._config.train.freeze_encoder_epochs
        set_train_mode(self.network, encoder_frozen=frozen)
        batches = self._batches.epoch_with_contents(n, n_steps_done)
        for k, (images, masks, content) in enumerate(batches, start=n_steps_done):
            yield self._step((n - 1) * len(self._batches) + k, images, masks, content)

    def override_schedule(self, schedule: RateSchedule) -> None:
        """Use this schedule for all further steps instead of that of the configuration."""
        self._schedule = schedule

    def mark_partial_epoch(self) -> None:
        """Set `partial_epoch` to the present position in the epoch; call it after a step."""
        if self._position is not None:  # otherwise it was marked after the last step
            epoch, steps, totals = self._position
            random = random_states(self._device)
            self.partial_epoch = {
                "epoch": epoch,
                "steps": steps,
                "totals": totals,
                "random": random,
            }
            self._position = None

    def state(self) -> dict[str, Any]:
        """State that a later process needs to continue; tensors are not copied."""
        return {
            "network": self.network.state_dict(),
            "average": None if self._average is None else self._average.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "part": self.partial_epoch,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore the result of `state`, perhaps on another device or in another precision."""
        self.network.load_state_dict(state["network"])
        if self._average is not None:
            self._average.network.load_state_dict(state["average"])
        load_optimizer_state(self._optimizer, state["optimizer"])
        if state["scaler"]:  # empty if the checkpoint was trained in another precision
            self._scaler.load_state_dict(state["scaler"])
        self.partial_epoch = state.get("part")
        if self.partial_epoch is not None:
            totals = {
                name: value.to(self._device) for name, value in self.partial_epoch["totals"].items()
            }
            self.partial_epoch = self.partial_epoch | {"totals": totals}

    def _rates(self) -> dict[str, float]:
        rates = current_rates(self._optimizer)
        encoder = {"optim/encoder_lr": rates["encoder"]} if "encoder" in rates else {}
        # A user-defined network may consist of an encoder alone.
        return {"optim/lr": rates.get("rest", rates.get("encoder", 0.0)), **encoder}

    def _step(
        self,
        step: int,
        images: ImageArray,
        masks: NDArray[np.uint8],
        content: NDArray[np.bool_] | None,
    ) -> dict[str, Tensor]:
        """Update the weights once; return the values of the loss, still on the device."""
        set_rates(self._optimizer, self._schedule, step)
        inputs = retry_on_oom(lambda: self._normalizer(images, self._device, content))
        target = retry_on_oom(lambda: to_device(masks, self._device))
        value = self._gradients(inputs, target)
        self._clip_gradients()
        optimizer_step(self._optimizer, lambda: self._scaler.step(self._optimizer))
        # After step(): it lowers the scale if that step was skipped for infinite gradients (fp16).
        self._scaler.update()
        if self._average is not None:
            self._average.update(step)
        parts = value.parts if len(value.parts) > 1 else {}
        return {
            "loss": value.total.detach(),
            **{f"loss_{name}": part for name, part in parts.items()},
        }

    def _clip_gradients(self) -> None:
        limit = self._config.optim.grad_clip
        if limit is not None:
            # Unscaled first: clipping compares the true norm with the limit.
            retry_on_oom(lambda: self._scaler.unscale_(self._optimizer))
            retry_on_oom(lambda: nn.utils.clip_grad_norm_(self.network.parameters(), limit))


def epoch_seed(seed: int, epoch: int) -> int:
    """Seed of torch in one epoch (dropout, stochastic depth); epoch 0 is that of the weights.

    Independent of earlier epochs, so that a continued training draws the same numbers. SeedSequence
    mixes both numbers: with a sum, epoch 2 of seed 1 would equal epoch 1 of seed 2.
    """
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _add_values(totals: dict[str, Tensor], values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: totals.get(name, 0.0) + value for name, value in values.items()}


def _to_floats(values: dict[str, Tensor]) -> dict[str, float]:
    return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))


def _divergence_error(values: dict[str, float], epoch: int, loss: CombinedLoss) -> DivergedError:
    """Make the error, which names the parts of the loss that are not finite."""
    total = values["loss"]
    part_values = {part: values.get(f"loss_{part}", total) for part in loss.weights}
    diverged_parts = [
        f"loss.{part}" for part, value in part_values.items() if not math.isfinite(value)
    ]
    details = f" ({', '.join(diverged_parts)})" if diverged_parts else ""
    return DivergedError(f"the training loss is {total} in epoch {epoch}{details}")
