"""One network being trained: everything that changes from step to step."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.config import TrialConfig
from harness.data.batches import TrainBatches
from harness.data_config import StudyDataConfig
from harness.training.device import Precision
from harness.training.errors import DivergedError, HaltedError
from harness.training.gradients import Gradients
from harness.training.later import Glance
from harness.training.losses import Loss, build_loss
from harness.training.memory import Memory, retried
from harness.training.normalise import Images, Normalise, to_device
from harness.training.optim import (
    MovingAverage,
    build_optimizer,
    load_optimizer,
    rates_now,
    set_rates,
    take_step,
    train_mode,
)
from harness.training.schedule import Rates, build_schedule
from harness.training.snapshot import random_states, set_random_states

_CHECK_EVERY = 16  # steps between looks at the loss


class Trainer:
    """Trains a network epoch by epoch.

    Attributes:
        network: what the optimiser changes.
        judged: what is validated and saved: the moving average if there is one, else `network`.
        part: how far an epoch that is not finished has come; None between epochs.
    """

    def __init__(
        self,
        network: nn.Module,
        config: TrialConfig,
        batches: TrainBatches,
        normalise: Normalise,
        *,
        data: StudyDataConfig,
        seed: int,
        device: torch.device,
        precision: Precision,
        memory: Memory | None = None,
    ) -> None:
        self.network, self._config, self._batches = network, config, batches
        self._seed, self._device = seed, device
        self._normalise = normalise
        forward: Callable[[Tensor], Tensor] = network
        if config.train.compile:
            # What was compiled for networks before counts towards a limit, beyond which torch
            # silently compiles no more: a warm process would give other numbers than a fresh one.
            torch.compiler.reset()
            forward = torch.compile(network)
        self._loss = build_loss(config.loss, data)
        self._optimizer = build_optimizer(network, config.optim)
        self._schedule: Rates = build_schedule(
            config.optim, epochs=config.train.epochs, steps_per_epoch=len(batches)
        )
        half = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}[precision]
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._gradients = Gradients(
            network,
            forward,
            self._loss,
            self._scaler,
            memory or Memory(config.train.batch_size),
            half=half,
        )
        decay = config.train.ema_decay
        self._average = None if decay is None else MovingAverage(network, decay)
        self.part: dict[str, Any] | None = None
        self._place: tuple[int, int, dict[str, Tensor]] | None = None

    @property
    def judged(self) -> nn.Module:
        return self.network if self._average is None else self._average.network

    def epoch(self, n: int, halt: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """Train epoch `n`, from 1; the same numbers whichever process trained the ones before.

        Args:
            halt: asked after each step whether to stop; `state` then holds the place. It may call
                `mark` and keep `state`, too.

        Returns:
            train/loss, the mean over steps, and train/loss_<part> where there are several;
            optim/lr and optim/encoder_lr, the rates of the last step; 0 for a part in which all is
            frozen.

        Raises:
            DivergedError: the loss is not finite.
            ConfigError: the network cannot train on so small a batch.
            TooLargeError: the device's memory does not hold the smallest part of a batch.
            HaltedError: `halt` said so.
        """
        begun = self.part if self.part is not None and self.part["epoch"] == n else None
        done = 0 if begun is None else begun["steps"]
        totals: dict[str, Tensor] = {} if begun is None else begun["totals"]
        glance: Glance | None = None  # at the last look: by now it is there, and nothing waits
        seen: dict[str, Tensor] = {}  # all values of that look
        for k, values in enumerate(self.steps(n, done), start=done):
            totals = retried(partial(_added, totals, values))
            if k % _CHECK_EVERY == 0:
                if glance is not None and not math.isfinite(glance.read()):
                    break
                glance, seen = retried(partial(Glance, values["loss"])), values
            self._place = (n, k + 1, totals)
            if halt():
                self.mark()
                raise HaltedError(f"stopped after step {k + 1} of epoch {n}")
        self._place = (n, len(self._batches), totals)
        self.mark()
        sums = retried(partial(_on_host, totals))
        if not math.isfinite(sums["loss"]):
            # What was seen first: with broken weights every part is soon broken.
            earlier = _on_host(seen) if seen else sums
            raise _diverged(sums if math.isfinite(earlier["loss"]) else earlier, n, self._loss)
        means = {f"train/{name}": total / len(self._batches) for name, total in sums.items()}
        return means | self._rates()

    def steps(self, n: int, done: int = 0) -> Iterator[dict[str, Tensor]]:
        """Train epoch `n`, from 1, giving each step's loss and its parts, not yet waited for.

        Args:
            done: steps that `part` says are done already.
        """
        torch.manual_seed(epoch_seed(self._seed, n))
        if done and self.part is not None:
            set_random_states(self.part["random"], self._device)
        frozen = n <= self._config.train.freeze_encoder_epochs
        train_mode(self.network, encoder_frozen=frozen)
        batches = self._batches.epoch_with_contents(n, done)
        for k, (images, masks, content) in enumerate(batches, start=done):
            yield self._step((n - 1) * len(self._batches) + k, images, masks, content)

    def follow(self, schedule: Rates) -> None:
        """Take the rates of all further steps from here instead of the configuration."""
        self._schedule = schedule

    def mark(self) -> None:
        """Make `part` say how far the epoch has come; may be called after a step."""
        if self._place is not None:  # else it was marked after the last step, and is as it was
            epoch, steps, totals = self._place
            random = random_states(self._device)
            self.part = {"epoch": epoch, "steps": steps, "totals": totals, "random": random}
            self._place = None

    def state(self) -> dict[str, Any]:
        """All that must be kept to go on later; tensors are not copied."""
        return {
            "network": self.network.state_dict(),
            "average": None if self._average is None else self._average.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "part": self.part,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave, perhaps on another device or in another precision."""
        self.network.load_state_dict(state["network"])
        if self._average is not None:
            self._average.network.load_state_dict(state["average"])
        load_optimizer(self._optimizer, state["optimizer"])
        if state["scaler"]:  # else it was trained in another precision, without a scale
            self._scaler.load_state_dict(state["scaler"])
        self.part = state.get("part")
        if self.part is not None:
            totals = {name: value.to(self._device) for name, value in self.part["totals"].items()}
            self.part = self.part | {"totals": totals}

    def _rates(self) -> dict[str, float]:
        rates = rates_now(self._optimizer)
        encoder = {"optim/encoder_lr": rates["encoder"]} if "encoder" in rates else {}
        # A network of the user's own may be all encoder.
        return {"optim/lr": rates.get("rest", rates.get("encoder", 0.0)), **encoder}

    def _step(
        self,
        step: int,
        images: Images,
        masks: NDArray[np.uint8],
        content: NDArray[np.bool_] | None,
    ) -> dict[str, Tensor]:
        """One update of the weights; the values of the loss, not yet waited for."""
        set_rates(self._optimizer, self._schedule, step)
        inputs = retried(lambda: self._normalise(images, self._device, content))
        target = retried(lambda: to_device(masks, self._device))
        value = self._gradients(inputs, target)
        limit = self._config.optim.grad_clip
        if limit is not None:
            retried(lambda: self._scaler.unscale_(self._optimizer))
            retried(lambda: nn.utils.clip_grad_norm_(self.network.parameters(), limit))
        take_step(self._optimizer, lambda: self._scaler.step(self._optimizer))
        self._scaler.update()
        if self._average is not None:
            self._average.update(step)
        parts = value.parts if len(value.parts) > 1 else {}
        return {
            "loss": value.total.detach(),
            **{f"loss_{name}": part for name, part in parts.items()},
        }


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of torch's random numbers (dropout, stochastic depth) in one epoch; 0: weights."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _added(totals: dict[str, Tensor], values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: totals.get(name, 0.0) + value for name, value in values.items()}


def _on_host(values: dict[str, Tensor]) -> dict[str, float]:
    return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))


def _diverged(values: dict[str, float], epoch: int, loss: Loss) -> DivergedError:
    """The error that names the parts of the loss which are not finite."""
    total = values["loss"]
    each = {part: values.get(f"loss_{part}", total) for part in loss.weights}
    which = [f"loss.{part}" for part, value in each.items() if not math.isfinite(value)]
    shown = f" ({', '.join(which)})" if which else ""
    return DivergedError(f"the training loss is {total} in epoch {epoch}{shown}")
