"""Metrics and tags of trials and studies under their MLflow keys, computed without mlflow."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from harness.config.objective import ObjectiveConfig
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_record, write_record

MAX_FAILURES_IN_A_ROW = 2  # the store counts as unreachable after this many
STUDY_NUMBER = -1  # denotes the study's own run among the trial numbers
FINAL_METRICS = ("best/dice", "best/iou", "cost/parameters", "cost/seconds", "cost/peak_mb")


@dataclass(frozen=True)
class BestSoFar:
    """Best value of the study at the time when trial `number` ended."""

    ended_at: str
    number: int
    value: float
    is_own: bool = True


@dataclass(frozen=True)
class StudyMetric:
    """Metric of a whole study; `time_ms` is in milliseconds since 1970."""

    key: str
    value: float
    time_ms: int
    step: int


@dataclass(frozen=True)
class ConfirmedModel:
    """Winner of a confirmation, to be registered as a model.

    Attributes:
        number: number of the trial in the confirmation.
        search_number: number of the search trial with the same configuration.
        sentence: result of the comparison.
        metrics: values by metric, e.g. `confirm/mean`.
        ended_at: end of the last confirming trial, UTC, ISO 8601.
    """

    number: int
    search_number: int
    sentence: str
    metrics: dict[str, float]
    ended_at: str | None


@dataclass(frozen=True)
class ConfirmedEntry:
    """One configuration of a decided confirmation, as MLflow's Models page shows it.

    Attributes:
        number: number of its recommended trial in the confirmation.
        search_number: number of the search trial with the same configuration.
        verdict: better, tied or worse.
        is_choice: True if the confirmation recommends this configuration.
        n_runs: number of complete confirming trials.
        metrics: values by metric, e.g. `confirm/mean`.
        ended_at: end of the last confirming trial, UTC, ISO 8601.
    """

    number: int
    search_number: int
    verdict: str
    is_choice: bool
    n_runs: int
    metrics: dict[str, float]
    ended_at: str | None


def record_run_ids(paths: StudyPaths, run_ids: Mapping[int, str]) -> None:
    """Write new MLflow run ids into the trial records.

    The caller must hold the study lock while no worker trains. During a run the controller alone
    writes records, from its memory, and would overwrite the ids.

    Args:
        paths: folder of the study.
        run_ids: run id by trial number, of the store that the study was copied to last.
    """
    for number, run_id in run_ids.items():
        trial = paths.trial(number)
        try:
            record = read_record(trial.trial_json)
        except (ConfigError, FileNotFoundError):  # damaged (reported elsewhere) or removed
            continue
        if record.mlflow_run_id != run_id:
            write_record(trial, record.model_copy(update={"mlflow_run_id": run_id}))


def label_tags(labels: dict[str, str]) -> dict[str, str]:
    """Labels as MLflow tags, with keys restricted to the allowed characters and length (250)."""
    return {
        f"label.{re.sub(r'[^A-Za-z0-9_. -]', '_', name)[:200]}": text
        for name, text in labels.items()
    }


def epoch_and_row(path: Path) -> tuple[int, int]:
    """Epoch and row of split.csv from the file name of an overlay; zeros for any other name."""
    match = re.fullmatch(r"(\d+)-(\d+)", path.stem)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def to_milliseconds(timestamp: str | None) -> int | None:
    """Milliseconds since 1970 of an ISO 8601 timestamp; None for None."""
    return None if timestamp is None else int(datetime.fromisoformat(timestamp).timestamp() * 1000)


def best_so_far(
    records: Iterable[TrialRecord], objective: ObjectiveConfig, after: "BestSoFar | None" = None
) -> "Iterator[BestSoFar]":
    """Best value of the study at the end of each complete trial, in the order of their ends.

    Args:
        records: trials of any state; those that ended before `after` are skipped.
        objective: objective of the study, which defines what is better.
        after: last item of an earlier call.

    Yields:
        One item for each complete trial of the study itself. Imported trials have no item, but
        their values count.
    """
    complete = [
        BestSoFar(record.ended, record.number, record.value, is_own=record.imported is None)
        for record in records
        if record.state == "complete" and record.value is not None and record.ended is not None
    ]
    # Imported trials sort first whatever their dates: they were known before the study started.
    best = after
    for point in sorted(complete, key=lambda point: (point.is_own, point.ended_at, point.number)):
        if after is not None and (point.ended_at, point.number) <= (after.ended_at, after.number):
            continue
        improves = best is None or objective.better(point.value, best.value)
        best = replace(point, value=point.value if best is None or improves else best.value)
        if point.is_own:
            yield best


def final_metrics(record: TrialRecord, objective: ObjectiveConfig) -> dict[str, float]:
    """Metrics logged once at the end of a trial: those that trials are sorted and compared by.

    MLflow draws a chart with one point for each of them. The other metrics of the best epoch are
    on the curves at that epoch, and `study_note.trial_note` lists all of them.
    """
    sorted_by = {objective.metric.replace("val/", "best/"), *FINAL_METRICS}
    values = (record.best | record.costs).items()
    metrics = {key: float(value) for key, value in values if key in sorted_by}
    if record.best_epoch is not None:
        metrics["best/epoch"] = float(record.best_epoch)
    return metrics


def final_tags(record: TrialRecord) -> dict[str, str]:
    """Tags logged at the end of a trial; an empty text where a fact is not recorded."""
    return {
        "harness.device": record.device or "",
        "harness.precision": record.precision or "",
        "harness.git_commit": record.git_commit or "",
        "harness.versions": json.dumps(record.versions),
        "harness.failure": "" if record.failure is None else record.failure.cause,
        "harness.micro_batch": "" if record.micro_batch is None else str(record.micro_batch),
        "harness.repeats": "" if record.repeats is None else str(record.repeats),
    }
