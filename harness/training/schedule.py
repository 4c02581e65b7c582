"""Learning rates over the steps of a training, as plain functions of the step."""

import math
from dataclasses import dataclass
from typing import Protocol

from harness.config import OptimConfig

WARMUP_START = 0.01  # share of the rate at the first step of a warm-up
POLY_POWER = 0.9  # Chen et al. 2017, DeepLab
# One-cycle, the numbers of Smith and Topin 2018 as in torch's OneCycleLR.
ONECYCLE_RISE = 0.3
ONECYCLE_START = 1 / 25
ONECYCLE_END = ONECYCLE_START / 1e4
ONECYCLE_MOMENTUM_DIP = 0.1


class Rates(Protocol):
    """What sets the learning rate and the momentum of each step."""

    def factor(self, step: int) -> float:
        """The rate at `step`, from 0, as a factor of the peak rate."""
        ...

    def momentum(self, step: int, peak: float) -> float:
        """Momentum (or beta1) at `step`, where it is `peak` at its highest."""
        ...


@dataclass(frozen=True)
class Schedule:
    """The rate at each step, as a factor of the peak rate, over `n_steps` in all.

    `warmup_epochs` is a linear rise before the schedule; under onecycle it is the length of its
    own rise, else the first 30 %.
    """

    name: str
    n_steps: int
    n_warmup: int

    def factor(self, step: int) -> float:
        """The factor at `step`, from 0 to n_steps excluded; in (0, 1]."""
        if self.name == "onecycle":
            rise, share = self._cycle(step)
            if rise:
                return _cosine(ONECYCLE_START, 1.0, share)
            return _cosine(1.0, ONECYCLE_END, share)
        if step < self.n_warmup:
            return WARMUP_START + (1 - WARMUP_START) * step / self.n_warmup
        done = (step - self.n_warmup) / max(1, self.n_steps - self.n_warmup)
        match self.name:
            case "constant":
                return 1.0
            case "cosine":
                return _cosine(1.0, 0.0, done)
            case "poly":
                return math.pow(1.0 - done, POLY_POWER)
        raise ValueError(f"no schedule {self.name!r}")

    def momentum(self, step: int, peak: float) -> float:
        """Momentum (or beta1) at `step`; onecycle lowers it by 0.1 where the rate is highest."""
        if self.name != "onecycle":
            return peak
        low = max(0.0, peak - ONECYCLE_MOMENTUM_DIP)
        rise, share = self._cycle(step)
        return _cosine(peak, low, share) if rise else _cosine(low, peak, share)

    def _cycle(self, step: int) -> tuple[bool, float]:
        """Is the rate rising, and how much of that part is done."""
        top = (self.n_warmup or ONECYCLE_RISE * self.n_steps) - 1
        if step <= top:
            return True, step / top if top > 0 else 1.0
        rest = self.n_steps - 1 - top
        return False, (step - top) / rest if rest > 0 else 1.0


def build_schedule(config: OptimConfig, *, epochs: int, steps_per_epoch: int) -> Schedule:
    """The schedule of a training of so many epochs."""
    n_steps = epochs * steps_per_epoch
    n_warmup = min(round(config.warmup_epochs * steps_per_epoch), n_steps)
    return Schedule(config.schedule, n_steps, n_warmup)


def _cosine(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * min(1.0, share)))
