"""Export the trials of a study as a list, and as a CSV that is a space of the same trials."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from harness.config.study import TrialConfig, loss_names
from harness.core.records import TrialRecord
from harness.report.tables.study_tables import StudyTables, trial_settings
from harness.space.reading.csv_cells import CellMarker, write_cell, write_label
from harness.space.reading.csv_space import LABEL_PREFIX, RESULT_PREFIX
from harness.space.reading.row_space import inactive_column_reason

RESULT_FIELDS = ("number", "state", "value", "best_epoch")


def trials_as_dicts(tables: StudyTables) -> list[dict[str, Any]]:
    """One mapping per trial, in order of number, with plain values for JSON."""
    return [
        {
            "number": record.number,
            "state": record.state,
            "value": record.value,
            "best_epoch": record.best_epoch,
            "epochs": record.epochs,
            "params": record.params,
            "labels": record.labels,
            "best": record.best,
            "costs": record.costs,
            "seed": record.seed,
            "failure": record.failure.cause if record.failure else None,
        }
        for record in tables.records
    ]


def trials_as_csv_space(tables: StudyTables) -> str:
    """A CSV with one row per trial, which `harness run --space` trains again in this order.

    Columns: `trial.…`, the results, ignored on reading; `label.…`, the labels; the searched
    parameters; every other setting that differs from its default in some trial. A setting that a
    trial does not have, such as an option of another architecture, is written as `default`; so is
    a setting that has no effect in any trial.
    """
    settings = _drop_inactive([_settings_or_params(tables, record) for record in tables.records])
    labels = list(dict.fromkeys(name for record in tables.records for name in record.labels))
    keys = _column_keys(tables, settings)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    titles = [RESULT_PREFIX + name for name in RESULT_FIELDS]
    titles += [LABEL_PREFIX + name for name in labels]
    writer.writerow([*titles, *keys])
    for record, flat in zip(tables.records, settings, strict=True):
        # "default" and not an empty cell, which a space reads as null.
        values = [write_cell(flat.get(key, CellMarker.DEFAULT)) for key in keys]
        writer.writerow([*_result_cells(record, labels), *values])
    return text.getvalue()


def _result_cells(record: TrialRecord, labels: Sequence[str]) -> list[str]:
    results = [getattr(record, name) for name in RESULT_FIELDS]
    return [
        *("" if value is None else write_cell(value) for value in results),
        *(write_label(record.labels.get(name, "")) for name in labels),
    ]


def _settings_or_params(tables: StudyTables, record: TrialRecord) -> dict[str, Any]:
    """Full configuration of a trial; only the searched parameters if its file is missing."""
    return trial_settings(tables, record) or dict(record.params)


def _drop_inactive(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Settings without those that differ between trials but have no effect, which a space refuses.

    The weight of a loss that is the only one in every trial has no effect; it is written as 1.
    """
    all_keys = dict.fromkeys(key for flat in settings for key in flat)
    inactive = {key for key in all_keys if inactive_column_reason(key, settings, {}) is not None}
    # A weight that is left out gets its default on reading, which is 0 for most losses.
    weights = {f"loss.{name}" for name in loss_names()}
    return [
        {
            key: 1.0 if key in inactive else value
            for key, value in flat.items()
            if key not in inactive or key in weights
        }
        for flat in settings
    ]


def _column_keys(tables: StudyTables, settings: list[dict[str, Any]]) -> list[str]:
    defaults = TrialConfig().flat()
    all_keys = dict.fromkeys(key for flat in settings for key in flat)
    changed_keys = [
        key
        for key in all_keys
        if any(
            key in flat and flat[key] != defaults.get(key, CellMarker.DEFAULT) for flat in settings
        )
    ]
    # A CSV without columns cannot have rows, so a study without parameters gets one column.
    return list(dict.fromkeys([*tables.parameters, *changed_keys])) or ["model.arch"]
