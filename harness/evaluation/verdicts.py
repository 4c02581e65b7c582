"""What a decision about configurations says."""

from dataclasses import dataclass
from typing import Literal

from harness.evaluation.intervals import Interval
from harness.evaluation.needed import needed_seeds

PLANNED_POWER = 0.85
Verdict = Literal["better", "tied", "worse"]


@dataclass(frozen=True)
class Cost:
    """What a configuration costs: number of weights, and mean seconds of training."""

    parameters: int
    seconds: float


@dataclass(frozen=True)
class Ranked:
    """One configuration.

    Attributes:
        configuration: its name, as given.
        mean: over runs, of the means over images; the ranking is by it.
        interval: 95 %, of seeds and images like these; None with one run or below 50 images.
        sd_runs: standard deviation of the run means (seeds or folds); None with one run.
        verdict: better (than every other one), tied (not shown worse than the leader), worse.
    """

    configuration: str
    mean: float
    interval: Interval | None
    sd_runs: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Decision:
    """What the runs of all configurations say.

    Attributes:
        ranked: best first; equal means by name.
        winner: the one that is better than every other; None if there is none.
        tied: those not shown worse than the leader, which is the first of them.
        choice: the cheapest of the tied, by parameters, then seconds, then rank.
        sentence: all of this in words. Names of configurations stand in it as they are.
        needed_seeds: for each configuration, to find a lead of one point over all others with a
            chance of 80 %; None where no number of seeds would do (more images are needed), with
            folds, and with one run each.
        needed_images: for a difference of one point between the two that lead to stand out of
            the chance of the images, with the same power; None where it cannot be told.
        sd_runs: root of the mean variance of the run means within configurations; None where no
            configuration has two.
        sd_freedom: degrees of freedom of that.
        images_error: the largest part, over comparisons with the leader, of the standard error
            that more seeds would not remove.
    """

    ranked: tuple[Ranked, ...]
    winner: str | None
    tied: tuple[str, ...]
    choice: str
    sentence: str
    needed_seeds: int | None
    needed_images: int | None
    sd_runs: float | None = None
    sd_freedom: int = 0
    images_error: float = 0.0

    def seeds_for(self, difference: float, power: float = PLANNED_POWER) -> int | None:
        """Seeds for each configuration to find a lead of `difference` over all others.

        Planned for a little more than the promised 80 %, as images_error is an estimate too.

        Returns:
            None with one run each, and where no number of seeds would do.
        """
        if self.sd_runs is None:
            return None
        return needed_seeds(
            self.sd_runs,
            difference,
            power=power,
            n_configurations=len(self.ranked),
            images_error=self.images_error,
            freedom=self.sd_freedom,
        )
