"""Trial records and epoch logs as data frames."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_epochs


def trials_frame(records: Sequence[TrialRecord], epochs: pd.DataFrame) -> pd.DataFrame:
    """One row per trial, as `StudyTables.trials` describes."""
    epoch_counts = epochs.groupby("number")["epoch"].count()
    parameters = list(dict.fromkeys(key for record in records for key in record.params))
    best = list(dict.fromkeys(key for record in records for key in record.best))
    costs = list(dict.fromkeys(key for record in records for key in record.costs))

    def int_series(values: list[int | None]) -> "pd.Series[Any]":
        return pd.Series(values, dtype="Int64")

    def float_series(values: list[float | None]) -> "pd.Series[Any]":
        return pd.Series(values, dtype="float64")

    columns: dict[str, Any] = {
        "number": pd.Series([r.number for r in records], dtype="int64"),
        "state": _text_series([r.state for r in records]),
        "value": float_series([r.value for r in records]),
        "best_epoch": int_series([r.best_epoch for r in records]),
        "epochs_done": pd.Series(
            [int(epoch_counts.get(r.number, 0)) for r in records], dtype="int64"
        ),
        "epochs_planned": pd.Series([r.epochs for r in records], dtype="int64"),
    }
    labels = list(dict.fromkeys(name for record in records for name in record.labels))
    columns |= {f"label.{k}": _text_series([r.labels.get(k) for r in records]) for k in labels}
    columns |= {
        k: _parameter_series([r.params.get(k, math.nan) for r in records]) for k in parameters
    }
    columns |= {k: float_series([r.best.get(k) for r in records]) for k in best}
    columns |= {k: float_series([r.costs.get(k) for r in records]) for k in costs}
    columns["seed"] = pd.Series([r.seed for r in records], dtype="int64")
    columns["repeats"] = int_series([r.repeats for r in records])
    columns["imported"] = _text_series([r.imported for r in records])
    columns["attempt"] = pd.Series([r.attempt for r in records], dtype="int64")
    columns["micro_batch"] = int_series([r.micro_batch for r in records])
    for name in ("device", "precision", "started", "ended"):
        columns[name] = _text_series([getattr(record, name) for record in records])
    columns["failure"] = _text_series([r.failure.cause if r.failure else None for r in records])
    columns["message"] = _text_series([r.failure.message if r.failure else None for r in records])
    return pd.DataFrame(columns)


def _text_series(values: list[str | None]) -> "pd.Series[Any]":
    return pd.Series([math.nan if v is None else v for v in values], dtype=object)


def _parameter_series(values: list[Any]) -> "pd.Series[Any]":
    """A parameter's column: numbers where all are, else objects, so that null and absent differ."""
    all_numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if all_numbers and all(isinstance(value, int) for value in values):
        return pd.Series(values, dtype="int64")
    all_integers = (
        all(isinstance(v, int) or math.isnan(v) for v in values) if all_numbers else False
    )
    return pd.Series(values, dtype="float64" if all_numbers and not all_integers else object)


def epochs_frame(paths: StudyPaths, records: Sequence[TrialRecord]) -> pd.DataFrame:
    """One row per trial and epoch, as `StudyTables.epochs` describes.

    Raises:
        ConfigError: a log that is not one, naming the file.
    """
    rows: list[dict[str, float]] = []
    for record in records:
        log = paths.trial(record.number)
        try:
            lines = read_epochs(log)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{log.epochs_jsonl}: not an epoch log: {error!r}") from error
        for line in lines:
            numbers = {k: v for k, v in line.items() if type(v) in (int, float)}
            rows.append({"number": record.number, **numbers})
    return pd.DataFrame(rows, columns=None if rows else ["number", "epoch"])
