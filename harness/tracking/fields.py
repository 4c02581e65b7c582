"""What of a trial's folder and record is written into MLflow, in MLflow's words."""

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

MAX_FAILURES_IN_A_ROW = 2  # after so many the store is taken for dead
STUDY_NUMBER = -1  # stands for the study's own run among the numbers of trials


@dataclass(frozen=True)
class BestSoFar:
    """The best value so far when trial `number` ended."""

    ended_at: str
    number: int
    value: float
    is_own: bool = True


@dataclass(frozen=True)
class StudyMetric:
    """A number of the study as a whole; `time_ms` is since 1970."""

    key: str
    value: float
    time_ms: int
    step: int


@dataclass(frozen=True)
class ConfirmedModel:
    """The confirming trial whose weights are offered, and what was found.

    Attributes:
        number: of the trial in the confirmation.
        search_number: of the trial in the search that has its configuration.
        sentence: what the comparison says.
        metrics: by metric, e.g. `confirm/mean`.
        ended_at: UTC, ISO 8601: when the last of the confirming trials ended.
    """

    number: int
    search_number: int
    sentence: str
    metrics: dict[str, float]
    ended_at: str | None


def record_run_ids(paths: StudyPaths, run_ids: Mapping[int, str]) -> None:
    """Write MLflow's ids of the runs into the records of their trials, where they are new.

    The caller leads the study and no worker trains: records are otherwise written by the
    controller alone, from what it holds in memory.

    Args:
        run_ids: by number; of the store that the study was copied to last.
    """
    for number, run_id in run_ids.items():
        trial = paths.trial(number)
        try:
            record = read_record(trial.trial_json)
        except (ConfigError, FileNotFoundError):  # damaged, which is told of, or gone
            continue
        if record.mlflow_run_id != run_id:
            write_record(trial, record.model_copy(update={"mlflow_run_id": run_id}))


def label_tags(labels: dict[str, str]) -> dict[str, str]:
    """Labels as tags of MLflow, whose keys have few signs and some 250 letters."""
    return {
        f"label.{re.sub(r'[^A-Za-z0-9_. -]', '_', name)[:200]}": text
        for name, text in labels.items()
    }


def epoch_and_row(path: Path) -> tuple[int, int]:
    """Epoch and row of split.csv in the name of an overlay; zeros for another name."""
    match = re.fullmatch(r"(\d+)-(\d+)", path.stem)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def to_milliseconds(timestamp: str | None) -> int | None:
    """Since 1970; None for no moment."""
    return None if timestamp is None else int(datetime.fromisoformat(timestamp).timestamp() * 1000)


def best_so_far(
    records: Iterable[TrialRecord], objective: ObjectiveConfig, after: "BestSoFar | None" = None
) -> "Iterator[BestSoFar]":
    """The best value of the study at the end of each complete trial, in the order they ended.

    Args:
        records: trials of any state; those that ended before `after` are passed over.
        objective: says what is better.
        after: the last one of an earlier call.

    Returns:
        One for each complete trial of the study's own; imported trials only set the mark.
    """
    complete = [
        BestSoFar(record.ended, record.number, record.value, is_own=record.imported is None)
        for record in records
        if record.state == "complete" and record.value is not None and record.ended is not None
    ]
    best = after
    for point in sorted(complete, key=lambda point: (point.is_own, point.ended_at, point.number)):
        if after is not None and (point.ended_at, point.number) <= (after.ended_at, after.number):
            continue
        improves = best is None or objective.better(point.value, best.value)
        best = replace(point, value=point.value if best is None or improves else best.value)
        if point.is_own:
            yield best


def final_metrics(record: TrialRecord) -> dict[str, float]:
    """What is said once of a trial that has ended: metrics of its best epoch, and costs."""
    metrics = {key: float(value) for key, value in (record.best | record.costs).items()}
    if record.best_epoch is not None:
        metrics["best/epoch"] = float(record.best_epoch)
    return metrics


def final_tags(record: TrialRecord) -> dict[str, str]:
    """Facts of a trial that has ended; empty where there is nothing to say."""
    return {
        "harness.device": record.device or "",
        "harness.precision": record.precision or "",
        "harness.git_commit": record.git_commit or "",
        "harness.versions": json.dumps(record.versions),
        "harness.failure": "" if record.failure is None else record.failure.cause,
        "harness.micro_batch": "" if record.micro_batch is None else str(record.micro_batch),
        "harness.repeats": "" if record.repeats is None else str(record.repeats),
    }
