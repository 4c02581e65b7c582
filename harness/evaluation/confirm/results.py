"""What a confirmation has found so far, read from its folders; without torch or a database."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.config.study import StudyConfig
from harness.config.study_files import read_study_config
from harness.core.errors import UserError
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_records
from harness.evaluation.confirm.plan import CONFIRMS_LABEL, ConfirmationPlan, read_confirmation_plan
from harness.evaluation.confirm.run_values import read_run_values
from harness.evaluation.statistics.image_values import read_native_scores
from harness.evaluation.statistics.intervals import ConfidenceInterval
from harness.evaluation.statistics.ranking import (
    ConfigurationCost,
    RankingDecision,
    rank_configurations,
    search_optimism,
)
from harness.tracking.fields import ConfirmedModel

MIN_RUNS = 2  # complete ones that a configuration needs to be compared


@dataclass(frozen=True)
class ConfirmingTrial:
    """One training: `number` in the confirmation, `part` which seed or fold, its value if any."""

    number: int
    part: int
    state: str
    value: float | None


@dataclass(frozen=True)
class ConfirmedConfiguration:
    """One configuration of the search, and how it did again.

    Attributes:
        trial: its number in the search.
        searched: the objective that it had there.
        runs: its confirming trials so far, in order of seed or fold.
        cost: parameters and GFLOPs, and the mean seconds of its complete runs; 0 parameters: they
            are not recorded.
        interval: of the mean, over runs and images; None: no comparison yet, or too few images.
        verdict: better, tied or worse than the others; "" before there is a comparison.
        minimized: whether a lower objective is better.
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
        return math.fsum(self.values) / len(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over runs (divided by n - 1); None for fewer than two."""
        mean, n = self.mean, len(self.values)
        if mean is None or n < 2:
            return None
        return math.sqrt(math.fsum((value - mean) ** 2 for value in self.values) / (n - 1))

    @property
    def optimism(self) -> float | None:
        """By how much the search flattered it; positive: it did worse when trained again."""
        if self.mean is None:
            return None
        return search_optimism(self.searched, self.mean, minimized=self.minimized)

    @property
    def name(self) -> str:
        """What sentences call it."""
        return f"trial {self.trial}"


@dataclass(frozen=True)
class Confirmation:
    """All that a confirmation has found.

    Attributes:
        study: its name, `<study>.confirm`.
        kind: seed or fold.
        parts: how many runs each configuration is to have.
        wanted: how many runs in all.
        rows: the configurations, best first.
        decision: what may be said of them; None: see `reason`.
        reason: why there is no decision; "" where there is one.
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
        """Runs that are complete or failed."""
        return sum(run.state != "running" for row in self.rows for run in row.runs)

    @property
    def sentence(self) -> str:
        """What may be said, in one sentence, or why nothing may."""
        return self.reason if self.decision is None else self.decision.sentence

    @property
    def choice(self) -> ConfirmedConfiguration | None:
        """The configuration to take: the winner, or the smallest of those that are tied."""
        if self.decision is None:
            return None
        return next(row for row in self.rows if row.name == self.decision.choice)

    @property
    def weights(self) -> ConfirmingTrial | None:
        """The run of the choice whose weights are offered.

        Of several seeds the one that is best on the validation images, which all of them share. Of
        folds the first: their images differ, so the best one is the one with the easiest.
        """
        if self.choice is None:
            return None
        complete = [run for run in self.choice.runs if run.state == "complete"]
        if self.kind == "fold":
            return complete[0]
        sign = 1 if self.choice.minimized else -1
        return min(complete, key=lambda run: (sign * (run.value or 0.0), run.part))


def load_confirmation(paths: StudyPaths) -> Confirmation | None:
    """Read what the confirming trials of a study have come to.

    Args:
        paths: of the study.

    Returns:
        None where nothing is confirmed and nothing was begun.

    Raises:
        ConfigError, DataError: a file is not what it should be.
    """
    plan = read_confirmation_plan(paths)
    if plan is None:
        return None
    config = read_study_config(paths)
    minimized = config.objective.direction == "minimize"
    searched = {record.number: record.value for record in read_records(paths)}
    records = read_records(paths.confirm)
    rows = [
        _load_configuration(
            trial, searched.get(trial), plan, records, paths.confirm, minimized=minimized
        )
        for trial in plan.trials
    ]
    decision, reason = _make_decision(rows, plan, paths, config)
    ranked = {} if decision is None else {entry.configuration: entry for entry in decision.ranked}
    ranks = {name: rank for rank, name in enumerate(ranked)}
    sorted_rows = [
        replace(row, interval=ranked[row.name].interval, verdict=ranked[row.name].verdict)
        if row.name in ranked
        else row
        for row in rows
    ]
    sorted_rows.sort(key=lambda row: (ranks.get(row.name, len(ranks)), *_sort_key(row)))
    return Confirmation(
        study=paths.confirm.name,
        kind=plan.kind,
        parts=plan.parts,
        wanted=len(plan.runs),
        rows=tuple(sorted_rows),
        decision=decision,
        reason=reason,
    )


def build_champion(paths: StudyPaths, confirmation: Confirmation) -> ConfirmedModel | None:
    """What goes into MLflow of the choice; None before there is one."""
    choice, weights = confirmation.choice, confirmation.weights
    if choice is None or weights is None or confirmation.decision is None:
        return None
    numbers = {
        "confirm/mean": choice.mean,
        "confirm/optimism": choice.optimism,
        "confirm/deviation": choice.deviation,
        "confirm/low": choice.interval.low if choice.interval else None,
        "confirm/high": choice.interval.high if choice.interval else None,
    }
    ended = [record.ended for record in read_records(paths.confirm) if record.ended]
    return ConfirmedModel(
        number=weights.number,
        search_number=choice.trial,
        sentence=confirmation.decision.sentence,
        metrics={key: value for key, value in numbers.items() if value is not None},
        ended_at=max(ended, default=None),
    )


def _load_configuration(
    trial: int,
    searched: float | None,
    plan: ConfirmationPlan,
    records: Sequence[TrialRecord],
    paths: StudyPaths,
    *,
    minimized: bool,
) -> ConfirmedConfiguration:
    trial_records = [
        record for record in records if record.labels.get(CONFIRMS_LABEL) == str(trial)
    ]
    runs = [
        ConfirmingTrial(r.number, int(r.labels.get(plan.kind, "0")), r.state, r.value)
        for r in trial_records
    ]
    complete = [record for record in trial_records if record.state == "complete"]
    seconds = [record.costs.get("cost/seconds", 0.0) for record in complete]
    parameters = [int(record.costs.get("cost/parameters", 0)) for record in complete]
    gflops = [record.costs["cost/gflops"] for record in complete if "cost/gflops" in record.costs]
    cost = ConfigurationCost(
        max(parameters, default=0),
        math.fsum(seconds) / max(1, len(seconds)),
        max(gflops) if gflops and len(gflops) == len(complete) else None,
    )
    return ConfirmedConfiguration(
        trial=trial,
        searched=math.nan if searched is None else searched,
        runs=tuple(sorted(runs, key=lambda run: run.part)),
        cost=cost,
        interval=None,
        verdict="",
        minimized=minimized,
        own=_mean_native_scores(
            [read_native_scores(paths.trial(record.number)) for record in complete]
        ),
    )


def _mean_native_scores(runs: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The means over the runs that were measured."""
    measured_runs = [run for run in runs if run]
    if not measured_runs:
        return {}
    n = len(measured_runs)
    return {key: math.fsum(run[key] for run in measured_runs) / n for key in measured_runs[0]}


def _sort_key(row: ConfirmedConfiguration) -> tuple[float, int]:
    """By mean, those without one last."""
    sign = 1 if row.minimized else -1
    return (math.inf if row.mean is None else sign * row.mean, row.trial)


def _make_decision(
    rows: Sequence[ConfirmedConfiguration],
    plan: ConfirmationPlan,
    paths: StudyPaths,
    config: StudyConfig,
) -> tuple[RankingDecision | None, str]:
    """What may be said; or None and why nothing may."""
    n_ended = sum(run.state != "running" for row in rows for run in row.runs)
    if n_ended < len(plan.runs):
        return None, (
            f"{n_ended} of {len(plan.runs)} confirming trials have ended; "
            f"harness confirm --study {paths.name} goes on"
        )
    eligible_rows = [row for row in rows if len(row.values) >= MIN_RUNS]
    if not eligible_rows:
        return None, f"no configuration has {MIN_RUNS} complete {plan.kind}s"
    costs = {row.name: row.cost for row in eligible_rows if row.cost.parameters}
    try:
        runs = [
            (row.name, run.part, paths.confirm.trial(run.number).scores_csv)
            for row in eligible_rows
            for run in row.runs
            if run.state == "complete"
        ]
        scores = read_run_values(runs, config.objective.metric, folds=plan.kind == "fold")
        return rank_configurations(scores, minimized=rows[0].minimized, costs=costs), ""
    except (UserError, ValueError) as error:  # scores that are missing, or of different images
        return None, str(error)
