"""Result of a confirmation so far, and its table `confirm/ranking.csv`; no torch, no database."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.config.measurements import PRIMARY_METRICS
from harness.core import files
from harness.core.paths import StudyPaths
from harness.evaluation.statistics.intervals import ConfidenceInterval
from harness.evaluation.statistics.ranking import (
    ConfigurationCost,
    RankingDecision,
    search_optimism,
)

# Names in a file of format 1: a change would break programs that read it.
RANKING_COLUMNS = (
    *("rank", "trial", "runs", "searched", "confirmed", "low", "high", "optimism", "deviation"),
    *("verdict", "choice", "parameters", "seconds", "own_dice", "own_iou"),
)


@dataclass(frozen=True)
class ConfirmingTrial:
    """One training: its `number` in the confirmation, `part` (index of seed or fold) and value."""

    number: int
    part: int
    state: str
    value: float | None


@dataclass(frozen=True)
class ConfirmedConfiguration:
    """One configuration of the search with its confirming runs.

    Attributes:
        trial: trial number in the search.
        searched: objective in the search.
        runs: confirming trials so far, in order of seed or fold.
        cost: parameters and GFLOPs, and mean seconds of the complete runs; 0 parameters: not
            recorded.
        interval: of the mean, over runs and images; None: no comparison yet, or too few images.
        verdict: better, tied or worse than the others; "" before there is a comparison.
        minimized: True if a lower objective is better.
        own: mean Dice and IoU at the images' own sizes, over the complete runs that have them.
    """

    trial: int
    searched: float
    runs: tuple[ConfirmingTrial, ...]
    cost: ConfigurationCost
    interval: ConfidenceInterval | None
    verdict: str
    minimized: bool
    own: Mapping[str, float] = field(default_factory=dict)

    @property
    def values(self) -> list[float]:
        """The objective of each complete run."""
        return [r.value for r in self.runs if r.state == "complete" and r.value is not None]

    @property
    def mean(self) -> float | None:
        """The confirmed objective: the mean over complete runs."""
        # fsum: the same digits in whichever order the runs ended.
        return math.fsum(self.values) / len(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over runs (divided by n - 1); None for fewer than two."""
        # ddof 1: with three seeds the biased formula would give only 82 % of the deviation
        mean, n = self.mean, len(self.values)
        if mean is None or n < 2:
            return None
        return math.sqrt(math.fsum((value - mean) ** 2 for value in self.values) / (n - 1))

    @property
    def optimism(self) -> float | None:
        """Optimism of the search: how much better the objective was there than when confirmed."""
        if self.mean is None:
            return None
        return search_optimism(self.searched, self.mean, minimized=self.minimized)

    @property
    def name(self) -> str:
        """Name of the configuration in sentences."""
        return f"trial {self.trial}"


@dataclass(frozen=True)
class Confirmation:
    """Result of a confirmation.

    Attributes:
        study: name of the confirming study, `<study>.confirm`.
        kind: seed or fold.
        parts: planned number of runs per configuration.
        wanted: planned number of runs in total.
        rows: the configurations, best first.
        decision: ranking with verdicts; None: see `reason`.
        reason: reason why there is no decision; "" if there is one.
    """

    study: str
    kind: str
    parts: int
    wanted: int
    rows: tuple[ConfirmedConfiguration, ...]
    decision: RankingDecision | None
    reason: str

    @property
    def ended(self) -> int:
        """Number of runs that are complete or failed."""
        return sum(run.state != "running" for row in self.rows for run in row.runs)

    @property
    def sentence(self) -> str:
        """The decision in one sentence, or the reason why there is none."""
        return self.reason if self.decision is None else self.decision.sentence

    @property
    def choice(self) -> ConfirmedConfiguration | None:
        """The recommended configuration: the winner, or the smallest of the tied ones."""
        if self.decision is None:
            return None
        return next(row for row in self.rows if row.name == self.decision.choice)

    @property
    def weights(self) -> ConfirmingTrial | None:
        """The run of the choice whose weights are recommended; None before there is a choice."""
        return None if self.choice is None else self.recommended_run(self.choice)

    def recommended_run(self, row: ConfirmedConfiguration) -> ConfirmingTrial:
        """The complete run of a configuration whose weights are recommended.

        Among seeds it is the best on the validation images, which all seeds share. Among folds it
        is the first: their images differ, so the best value belongs to the easiest images.
        """
        complete = [run for run in row.runs if run.state == "complete"]
        # Images differ between folds, so values of different folds do not rank weights.
        if self.kind == "fold":
            return complete[0]
        # the part breaks ties, so that two calls always name the same run
        sign = 1 if row.minimized else -1
        return min(complete, key=lambda run: (sign * (run.value or 0.0), run.part))


def write_ranking_csv(paths: StudyPaths, confirmation: Confirmation) -> None:
    """Write `confirm/ranking.csv`: one row per configuration, best first; floats exactly."""
    text = io.StringIO()
    # The default of the csv module is "\r\n".
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(RANKING_COLUMNS)
    choice = confirmation.choice
    for rank, row in enumerate(confirmation.rows, start=1):
        low, high = (row.interval.low, row.interval.high) if row.interval else (None, None)
        # repr() of a Python float is the shortest text that reads back as the same float64
        numbers = [row.searched, row.mean, low, high, row.optimism, row.deviation]
        is_choice = "yes" if choice is not None and choice.trial == row.trial else "no"
        writer.writerow(
            [rank, row.trial, len(row.values)]
            # float() first: the repr of a NumPy 2 scalar is `np.float64(0.5)`.
            + ["" if number is None else repr(float(number)) for number in numbers]
            + [row.verdict, is_choice, row.cost.parameters, repr(float(row.cost.seconds))]
            + [repr(row.own[key]) if key in row.own else "" for key in PRIMARY_METRICS]
        )
    files.write_text(paths.confirm.ranking_csv, text.getvalue())
