"""A study as tables, read from its trial folders alone: they are the truth, databases a mirror."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from harness.config.study import StudyConfig, TrialConfig
from harness.config.study_files import require_study_yaml
from harness.core import files, strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_epochs, read_records
from harness.core.settings import flatten

# A spreadsheet runs cells that begin so as formulas; tab and return are stripped before it looks.
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class StudyTables:
    """A study as it stands on disk.

    Attributes:
        space: `space.yaml` as a mapping; {} where it is missing.
        trials: one row per trial, in order of number. Columns: number, state, value (objective at
            the best epoch), best_epoch, epochs_done, epochs_planned, label.… (tags of a
            row of a CSV), each searched parameter by its
            full key (NaN where it was not in force, None where it is null), best/…, cost/…, seed,
            repeats (first trial with that configuration), imported (`<study>/<number>` it was
            taken from), attempt, micro_batch (images at once, where GPU memory ran out), device,
            precision, started, ended, failure, message.
        epochs: one row per trial and epoch. Columns: number, epoch (from 1) and every metric.
    """

    paths: StudyPaths
    config: StudyConfig
    space: dict[str, Any]
    records: tuple[TrialRecord, ...]
    trials: pd.DataFrame
    epochs: pd.DataFrame

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Full keys of the searched parameters, in the order in which the trials name them."""
        return tuple(dict.fromkeys(key for record in self.records for key in record.params))

    @property
    def minimized(self) -> bool:
        return self.config.objective.minimized

    def record(self, number: int) -> TrialRecord:
        """The record of that trial. Raises KeyError if there is none."""
        return {record.number: record for record in self.records}[number]


def load_study_tables(paths: StudyPaths) -> StudyTables:
    """Read a study's definition and every trial.

    Raises:
        ConfigError: the study does not exist, or one of its files is not what it should be.
    """
    require_study_yaml(paths)
    config = StudyConfig.from_mapping(
        _parse_mapping(paths.study_yaml.read_text(encoding="utf-8"), str(paths.study_yaml)),
        source=str(paths.study_yaml),
        allow_unregistered=True,
    )
    space = {}
    if paths.space_yaml.is_file():
        space = _parse_mapping(paths.space_yaml.read_text(encoding="utf-8"), str(paths.space_yaml))
    records = tuple(read_records(paths))
    for folder, record in zip(paths.all_trials(), records, strict=True):
        if folder.number != record.number:
            raise ConfigError(f"{folder.trial_json}: says trial {record.number}; was it copied?")
    epochs = epochs_frame(paths, records)
    return StudyTables(paths, config, space, records, trials_frame(records, epochs), epochs)


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


def leaderboard(tables: StudyTables) -> pd.DataFrame:
    """Complete trials only, best first (equal values: lower number first), with a `rank` from 1.

    Columns: rank, number, label.…, value, best/…, the parameters, best_epoch, epochs_done, cost/….
    """
    positions = {int(number): i for i, number in enumerate(tables.trials["number"])}
    order = [positions[record.number] for record in ranked_records(tables)]
    ranked = tables.trials.take(order).reset_index(drop=True)
    ranked.insert(0, "rank", range(1, len(ranked) + 1))
    columns = ["rank", "number", *_columns_with_prefix(ranked, "label."), "value"]
    columns += [*_columns_with_prefix(ranked, "best/"), *tables.parameters]
    return ranked[[*columns, "best_epoch", "epochs_done", *_columns_with_prefix(ranked, "cost/")]]


def ranked_records(tables: StudyTables) -> list[TrialRecord]:
    """The records of the leaderboard's trials, best first; each has a finite value."""
    return tables.config.objective.ranked(tables.records)


def trials_in_state(tables: StudyTables, state: str) -> pd.DataFrame:
    """The rows of `trials` in that state, in order of number."""
    return tables.trials[tables.trials["state"] == state].reset_index(drop=True)


def best_configuration(tables: StudyTables, choice: int | None = None) -> str:
    """A trial's whole configuration as `fixed:` of a search space; "" if there is no trial.

    It is that of the confirmed choice, else of the leading trial.

    Searched parameters come first. Read from the trial's config.yaml; where that is missing, only
    the searched parameters are known and given.
    """
    ranked = ranked_records(tables)
    if not ranked:
        return ""
    record = ranked[0] if choice is None else tables.record(choice)
    status_text = "leading, not confirmed" if choice is None else "the choice after confirmation"
    flat = trial_settings(tables, record)
    searched = {key: flat.get(key, value) for key, value in record.params.items()}
    other_settings = {key: value for key, value in flat.items() if key not in searched}
    lines = [
        f"# study {tables.paths.name}, trial {record.number}: {status_text}",
        "fixed:",
    ]
    if not searched and not other_settings:
        return ""
    for title, values in (("searched", searched), ("everything else", other_settings)):
        if values:
            text = strict_yaml.dump_yaml(values).rstrip("\n")
            lines += [f"  # {title}", *(f"  {line}" for line in text.split("\n"))]
    return "\n".join(lines) + "\n"


def write_trials_csv(tables: StudyTables, path: Path) -> None:
    """Write `trials.csv`, as `trials_csv` gives it."""
    files.write_text(path, trials_csv(tables))


def trials_csv(tables: StudyTables) -> str:
    """The columns of `trials`, one row per trial.

    Floats are written so that reading them gives the same float64. A parameter that is null is
    `None`, one that was not in force is empty. Text that a spreadsheet would run as a formula gets
    a leading apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_csv_text(column) for column in tables.trials.columns])
    for row in tables.trials.astype(object).itertuples(index=False, name=None):
        writer.writerow([_csv_text(value) for value in row])
    return text.getvalue()


def _csv_text(value: Any) -> str:
    if value is None:
        return "None"
    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return repr(float(value))
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA_PREFIXES) else text


def trial_settings(tables: StudyTables, record: TrialRecord) -> dict[str, Any]:
    """Every setting of a trial by its full key, from its config.yaml; {} where that is missing."""
    path = tables.paths.trial(record.number).config_yaml
    if not path.is_file():
        return {}
    nested = _parse_mapping(path.read_text(encoding="utf-8"), str(path))
    return TrialConfig.from_flat(flatten(nested), source=str(path), allow_unregistered=True).flat()


def _parse_mapping(text: str, source: str) -> dict[str, Any]:
    value = strict_yaml.load_yaml(text, source=source).value
    if not isinstance(value, dict):
        raise ConfigError(f"{source}: must be a mapping of keys to values")
    return value


def _columns_with_prefix(frame: pd.DataFrame, prefix: str) -> list[str]:
    return [column for column in frame.columns if str(column).startswith(prefix)]
