"""Read a confirmation from its folders and rank its configurations; no torch, no database."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.study import StudyConfig
from harness.config.study_files import read_study_config
from harness.core.errors import UserError
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_records
from harness.evaluation.confirm.plan import CONFIRMS_LABEL, ConfirmationPlan, read_confirmation_plan
from harness.evaluation.confirm.results import Confirmation, ConfirmedConfiguration, ConfirmingTrial
from harness.evaluation.statistics.alignment import SCORE_COLUMNS
from harness.evaluation.statistics.image_values import per_image_values_of_all, read_native_scores
from harness.evaluation.statistics.ranking import (
    ConfigurationCost,
    RankingDecision,
    rank_configurations,
)
from harness.tracking.fields import ConfirmedEntry, ConfirmedModel
from harness.training.metrics.image_scores import ImageScores, read_scores

if TYPE_CHECKING:
    import pandas as pd

MIN_RUNS = 2  # complete runs per configuration: one run shows no variance between runs


def load_confirmation(paths: StudyPaths) -> Confirmation | None:
    """Read the confirming trials of a study and compare its configurations.

    Args:
        paths: the study's folder.

    Returns:
        None if no confirmation was started.

    Raises:
        ConfigError, DataError: a file is damaged.
    """
    plan = read_confirmation_plan(paths)
    if plan is None:
        return None
    config = read_study_config(paths)
    minimized = config.objective.minimized
    # The folder of a search trial may be gone since; its
    # value is then NaN, and the confirmation stands.
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
    """The confirmed choice as MLflow receives it; None before there is one."""
    choice, weights = confirmation.choice, confirmation.weights
    if choice is None or weights is None or confirmation.decision is None:
        return None
    return ConfirmedModel(
        number=weights.number,
        search_number=choice.trial,
        sentence=confirmation.decision.sentence,
        metrics=_confirmed_metrics(choice),
        ended_at=_last_end(paths),
    )


def build_entries(paths: StudyPaths, confirmation: Confirmation) -> list[ConfirmedEntry]:
    """The configurations that have a verdict as MLflow receives them, best first."""
    choice, ended_at = confirmation.choice, _last_end(paths)
    return [
        ConfirmedEntry(
            number=confirmation.recommended_run(row).number,
            search_number=row.trial,
            verdict=row.verdict,
            is_choice=choice is not None and row.trial == choice.trial,
            n_runs=len(row.values),
            metrics=_confirmed_metrics(row)
            | {f"confirm/own_{name}": value for name, value in row.own.items()},
            ended_at=ended_at,
        )
        for row in confirmation.rows
        if row.verdict
    ]


def _confirmed_metrics(row: ConfirmedConfiguration) -> dict[str, float]:
    metrics = {
        "confirm/mean": row.mean,
        "confirm/optimism": row.optimism,
        "confirm/deviation": row.deviation,
        "confirm/low": row.interval.low if row.interval else None,
        "confirm/high": row.interval.high if row.interval else None,
    }
    return {
        key: value for key, value in metrics.items() if value is not None and math.isfinite(value)
    }


def _last_end(paths: StudyPaths) -> str | None:
    """End of the last confirming trial.

    It stands for the time of a copy to MLflow: repeated calls must write equal records there.
    """
    return max((r.ended for r in read_records(paths.confirm) if r.ended), default=None)


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
    # GFLOPs only if all runs recorded them; otherwise parameters alone decide about the size.
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
    """Mean Dice and IoU over the runs that have scores at the images' own sizes."""
    measured_runs = [run for run in runs if run]
    if not measured_runs:
        return {}
    n = len(measured_runs)
    return {key: math.fsum(run[key] for run in measured_runs) / n for key in measured_runs[0]}


def _sort_key(row: ConfirmedConfiguration) -> tuple[float, int]:
    """Sort key: by mean; configurations without one come last."""
    sign = 1 if row.minimized else -1
    # None cannot be compared with floats, and nan would leave the order undefined.
    return (math.inf if row.mean is None else sign * row.mean, row.trial)


def _make_decision(
    rows: Sequence[ConfirmedConfiguration],
    plan: ConfirmationPlan,
    paths: StudyPaths,
    config: StudyConfig,
) -> tuple[RankingDecision | None, str]:
    """The decision, or None with the reason."""
    # No verdict before the end: testing after each run and stopping at the first
    # winner would find false winners more often than the level promises. Failed
    # runs count as ended, or they would block it.
    n_ended = sum(run.state != "running" for row in rows for run in row.runs)
    if n_ended < len(plan.runs):
        return None, (
            f"{n_ended} of {len(plan.runs)} confirming trials have ended; "
            f"continue with harness confirm --study {paths.name}"
        )
    # A configuration whose runs failed must not block the decision about the others.
    eligible_rows = [row for row in rows if len(row.values) >= MIN_RUNS]
    if not eligible_rows:
        return None, f"no configuration has {MIN_RUNS} complete {plan.kind}s"
    # 0 means "not recorded" and would otherwise be the smallest size.
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
    except (UserError, ValueError) as error:  # missing scores, or runs with different images
        return None, str(error)


def read_run_values(
    runs: Sequence[tuple[str, int, Path]], metric: str, *, folds: bool
) -> "pd.DataFrame":
    """The objective per configuration, run and image: the input of `rank_configurations`.

    Only images and classes are used that count in every run on the same validation images.

    Args:
        runs: for each run the configuration's name, the index of its seed or fold and its
            `scores.csv`.
        metric: the objective.
        folds: True if only the runs of one fold share their images; otherwise all runs do.

    Raises:
        UserError: a file is missing, or no image has a value.
        DataError: a file is not a valid `scores.csv`.
    """
    import pandas as pd  # noqa: PLC0415  # 60 MB that prediction does not need

    groups: dict[int, list[tuple[str, int, Path]]] = {}
    for run in runs:
        # Folds share no image, so images common to the runs of different folds do not exist.
        groups.setdefault(run[1] if folds else 0, []).append(run)
    frames = []
    for group in groups.values():
        values_per_run = per_image_values_of_all(
            [_read_existing_scores(path) for *_, path in group], metric
        )
        for (name, part, _), values in zip(group, values_per_run, strict=True):
            columns = {"image": values.index, "value": values.to_numpy()}
            frames.append(pd.DataFrame(columns).assign(configuration=name, run=part))
    nonempty_frames = [frame for frame in frames if len(frame)]
    if not nonempty_frames:
        raise UserError(
            f"no validation image has a value of {metric}, so configurations cannot be compared"
        )
    return pd.concat(nonempty_frames, ignore_index=True)[list(SCORE_COLUMNS)]


def _read_existing_scores(path: Path) -> ImageScores:
    if not path.is_file():
        raise UserError(f"{path}: missing, so images cannot be compared; restore the file")
    return read_scores(path)
