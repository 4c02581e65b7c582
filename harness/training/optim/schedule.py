"""Learning-rate schedules, as plain functions of the step."""

import math
from dataclasses import dataclass
from typing import Protocol

from harness.config.study import OptimConfig

WARMUP_START = 0.01  # share of the peak rate at the first step of a warm-up
POLY_POWER = 0.9  # Chen et al. 2017, DeepLab
# One-cycle, the numbers of Smith and Topin 2018 as in torch's OneCycleLR.
ONECYCLE_RISE = 0.3
ONECYCLE_START = 1 / 25
ONECYCLE_END = ONECYCLE_START / 1e4
ONECYCLE_MOMENTUM_DIP = 0.1


class RateSchedule(Protocol):
    """Learning rate and momentum of each step."""

    def factor(self, step: int) -> float:
        """Rate at `step`, from 0, as a factor of the peak rate."""
        ...

    def momentum(self, step: int, peak: float) -> float:
        """Momentum (or beta1) at `step`, whose highest value is `peak`."""
        ...


@dataclass(frozen=True)
class LearningRateSchedule:
    """Rate at each step as a factor of the peak rate, over `n_steps` in total.

    `n_warmup` steps of linear rise come before the schedule. Under onecycle they are the length of
    its own rise, which otherwise takes the first 30 %.
    """

    name: str
    n_steps: int
    n_warmup: int

    def factor(self, step: int) -> float:
        """Factor at `step`, from 0 to `n_steps` excluded; in (0, 1]."""
        if self.name == "onecycle":
            is_rising, share = self._onecycle_phase(step)
            if is_rising:
                return _cosine_interpolation(ONECYCLE_START, 1.0, share)
            return _cosine_interpolation(1.0, ONECYCLE_END, share)
        if step < self.n_warmup:
            # Not from 0: a first step at rate 0 would change nothing and still cost a batch.
            return WARMUP_START + (1 - WARMUP_START) * step / self.n_warmup
        progress = (step - self.n_warmup) / max(1, self.n_steps - self.n_warmup)
        match self.name:
            case "constant":
                return 1.0
            case "cosine":
                return _cosine_interpolation(1.0, 0.0, progress)
            case "poly":
                # progress stays below 1, as steps count from 0 to n_steps - 1: the rate never
                # reaches 0.
                return math.pow(1.0 - progress, POLY_POWER)
        raise ValueError(f"no schedule {self.name!r}")

    def momentum(self, step: int, peak: float) -> float:
        """Momentum (or beta1) at `step`; onecycle lowers it by 0.1 where the rate is highest."""
        if self.name != "onecycle":
            return peak
        low = max(0.0, peak - ONECYCLE_MOMENTUM_DIP)
        is_rising, share = self._onecycle_phase(step)
        return (
            _cosine_interpolation(peak, low, share)
            if is_rising
            else _cosine_interpolation(low, peak, share)
        )

    def _onecycle_phase(self, step: int) -> tuple[bool, float]:
        """True while the rate rises, and the finished share of the rise or fall."""
        # Minus 1 as in torch's OneCycleLR, whose rates the tests compare with these.
        peak_step = (self.n_warmup or ONECYCLE_RISE * self.n_steps) - 1
        if step <= peak_step:
            return True, step / peak_step if peak_step > 0 else 1.0
        n_falling = self.n_steps - 1 - peak_step
        return False, (step - peak_step) / n_falling if n_falling > 0 else 1.0


def build_schedule(
    config: OptimConfig, *, epochs: int, steps_per_epoch: int
) -> LearningRateSchedule:
    """Build the schedule of a training of `epochs` epochs."""
    n_steps = epochs * steps_per_epoch
    # At most the whole training, so that its last step still comes close to the peak rate.
    n_warmup = min(round(config.warmup_epochs * steps_per_epoch), n_steps)
    return LearningRateSchedule(config.schedule, n_steps, n_warmup)


def _cosine_interpolation(start: float, end: float, share: float) -> float:
    """Interpolate from start to end along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * min(1.0, share)))
