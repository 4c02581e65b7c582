"""Read a study's trial folders into data frames; the folders are the truth, databases a mirror."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from harness.config.study import StudyConfig, TrialConfig
from harness.config.study_files import require_study_yaml
from harness.core import files, strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.records import TrialRecord, read_epochs, read_records
from harness.core.settings import flatten
from harness.core.text import display_value, quote_formula


@dataclass(frozen=True)
class StudyTables:
    """A study as it stands on disk.

    Attributes:
        space: `space.yaml` as a mapping; {} where it is missing.
        trials: one row per trial, in order of number. Columns: number, state, value (objective at
            the best epoch), best_epoch, epochs_done, epochs_planned, label.… (labels of a CSV
            row), each searched parameter by its full key (NaN if it was not active, None if it is
            null), best/…, cost/…, seed, repeats (first trial with that configuration),
            second_chance (epoch after which it had been stopped), imported
            (`<study>/<number>` of its origin), attempt, micro_batch (images per step, if GPU
            memory ran out), device, precision, started, ended, failure, message.
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
        """Full keys of the searched parameters, in order of first appearance in the trials."""
        return tuple(dict.fromkeys(key for record in self.records for key in record.params))

    @property
    def minimized(self) -> bool:
        return self.config.objective.minimized

    def record(self, number: int) -> TrialRecord:
        """The record of that trial. Raises KeyError if it does not exist."""
        return {record.number: record for record in self.records}[number]


def load_study_tables(paths: StudyPaths) -> StudyTables:
    """Read a study's definition and every trial.

    Raises:
        ConfigError: the study does not exist, or one of its files is invalid.
    """
    require_study_yaml(paths)
    config = StudyConfig.from_mapping(
        _read_mapping(paths.study_yaml), source=str(paths.study_yaml), allow_unregistered=True
    )
    space = _read_mapping(paths.space_yaml) if paths.space_yaml.is_file() else {}
    records = tuple(read_records(paths))
    # A folder copied by hand would count one trial twice.
    for folder, record in zip(paths.all_trials(), records, strict=True):
        if folder.number != record.number:
            raise ConfigError(
                f"{folder.trial_json}: contains trial {record.number}, not {folder.number}; was "
                "the folder copied?"
            )
    epochs = epochs_frame(paths, records)
    return StudyTables(paths, config, space, records, trials_frame(records, epochs), epochs)


def trials_frame(records: Sequence[TrialRecord], epochs: pd.DataFrame) -> pd.DataFrame:
    """One row per trial, as `StudyTables.trials` describes."""
    epoch_counts = epochs.groupby("number")["epoch"].count()
    parameters = list(dict.fromkeys(key for record in records for key in record.params))
    best = list(dict.fromkeys(key for record in records for key in record.best))
    costs = list(dict.fromkeys(key for record in records for key in record.costs))

    # Int64 (nullable): plain int64 turns into float64 as soon as one value is missing
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
    columns["second_chance"] = int_series([r.second_chance for r in records])
    columns["imported"] = _text_series([r.imported for r in records])
    columns["attempt"] = pd.Series([r.attempt for r in records], dtype="int64")
    columns["micro_batch"] = int_series([r.micro_batch for r in records])
    for name in ("device", "precision", "started", "ended"):
        columns[name] = _text_series([getattr(record, name) for record in records])
    columns["failure"] = _text_series([r.failure.cause if r.failure else None for r in records])
    columns["message"] = _text_series([r.failure.message if r.failure else None for r in records])
    return pd.DataFrame(columns)


def _text_series(values: list[str | None]) -> "pd.Series[Any]":
    # dtype=object: pandas 3 would infer its own string
    # type, and float64 for a column without any text.
    return pd.Series([math.nan if v is None else v for v in values], dtype=object)


def _parameter_series(values: list[Any]) -> "pd.Series[Any]":
    """Column of a parameter: numeric if all values are numbers, otherwise objects.

    Objects keep null (None) and absent (NaN) apart, and integers integers next to absent values.
    """
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
        ConfigError: an epoch log is invalid; names the file.
    """
    rows: list[dict[str, float]] = []
    for record in records:
        for line in read_epochs(paths.trial(record.number)):
            # type(), not isinstance: a bool is an int, but not a metric
            numbers = {k: v for k, v in line.items() if type(v) in (int, float)}
            rows.append({"number": record.number, **numbers})
    return pd.DataFrame(rows, columns=None if rows else ["number", "epoch"])


def leaderboard(tables: StudyTables) -> pd.DataFrame:
    """Complete trials only, best first (equal values: lower number first), with a `rank` from 1.

    Columns: rank, number, label.…, value, best/…, the parameters, best_epoch, epochs_done, cost/….
    """
    positions = {int(number): i for i, number in enumerate(tables.trials["number"])}
    # Not DataFrame.sort_values: ties and values that are
    # not finite follow the objective's one rule.
    order = [positions[record.number] for record in ranked_records(tables)]
    ranked = tables.trials.take(order).reset_index(drop=True)
    ranked.insert(0, "rank", range(1, len(ranked) + 1))
    columns = ["rank", "number", *_columns_with_prefix(ranked, "label."), "value"]
    columns += [*_columns_with_prefix(ranked, "best/"), *tables.parameters]
    return ranked[[*columns, "best_epoch", "epochs_done", *_columns_with_prefix(ranked, "cost/")]]


def ranked_records(tables: StudyTables) -> list[TrialRecord]:
    """The records of the leaderboard's trials, best first; each has a finite value."""
    return tables.config.objective.ranked(tables.records)


def group_by_value(records: Iterable[TrialRecord], key: str) -> dict[str, list[TrialRecord]]:
    """Records that have the parameter, by the text of its value; in order of appearance."""
    groups: dict[str, list[TrialRecord]] = {}
    for record in records:
        if key in record.params:
            groups.setdefault(display_value(record.params[key]), []).append(record)
    return groups


def trials_in_state(tables: StudyTables, state: str) -> pd.DataFrame:
    """The rows of `trials` in that state, in order of number."""
    return tables.trials[tables.trials["state"] == state].reset_index(drop=True)


def best_configuration(tables: StudyTables, choice: int | None = None) -> str:
    """Full configuration of the choice as `fixed:` of a search space; "" if there is no trial.

    The choice is the confirmed one, otherwise the leading trial. Searched parameters come first. If
    the trial's config.yaml is missing, only the searched parameters are known and written.
    """
    ranked = ranked_records(tables)
    if not ranked:
        return ""
    record = ranked[0] if choice is None else tables.record(choice)
    status_text = "leading, not confirmed" if choice is None else "the choice after confirmation"
    flat = trial_settings(tables, record)
    searched = {key: flat.get(key, value) for key, value in record.params.items()}
    other_settings = {key: value for key, value in flat.items() if key not in searched}
    lines = [f"# study {tables.paths.name}, trial {record.number}: {status_text}", "fixed:"]
    if not searched and not other_settings:
        return ""
    for title, values in (("searched", searched), ("everything else", other_settings)):
        if values:
            text = strict_yaml.dump_yaml(values).rstrip("\n")
            lines += [f"  # {title}", *(f"  {line}" for line in text.split("\n"))]
    return "\n".join(lines) + "\n"


def write_trials_csv(tables: StudyTables, path: Path) -> None:
    """Write the text of `trials_csv` to `path`."""
    files.write_text(path, trials_csv(tables))


def trials_csv(tables: StudyTables) -> str:
    """The data frame `trials` as CSV, one row per trial.

    Floats are written with all digits, so reading them returns the same float64. A null parameter
    is written as `None`, an inactive one is empty. Text that a spreadsheet would run as a formula
    gets a leading apostrophe.
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
        # float() first: the repr of a NumPy 2 scalar is `np.float64(0.5)`.
        return repr(float(value))
    return quote_formula(value) if isinstance(value, str) else str(value)


def trial_settings(tables: StudyTables, record: TrialRecord) -> dict[str, Any]:
    """Every setting of a trial by its full key, from its config.yaml; {} where that is missing."""
    return read_trial_settings(tables.paths.trial(record.number))


def read_trial_settings(trial: TrialPaths) -> dict[str, Any]:
    """Every setting in the config.yaml of a trial by its full key; {} where it is missing."""
    path = trial.config_yaml
    if not path.is_file():
        return {}
    nested = _read_mapping(path)
    return TrialConfig.from_flat(flatten(nested), source=str(path), allow_unregistered=True).flat()


def _read_mapping(path: Path) -> dict[str, Any]:
    value = strict_yaml.load_yaml(path.read_text(encoding="utf-8"), source=str(path)).value
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: must be a mapping of keys to values")
    return value


def _columns_with_prefix(frame: pd.DataFrame, prefix: str) -> list[str]:
    return [column for column in frame.columns if str(column).startswith(prefix)]
