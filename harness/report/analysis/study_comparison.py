"""Comparison of several studies: results, differing definitions, leading trials image by image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.errors import UserError
from harness.core.records import TrialRecord
from harness.core.settings import flatten
from harness.core.text import display_value, format_duration
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.report.analysis.baseline import INCOMPARABLE, compare_with_baseline
from harness.report.tables.study_tables import StudyTables, ranked_records

RESULT_COLUMNS = ("study", "best", "trial", "val/dice", "val/iou", "trials", "trained for")
ABSENT = "–"


@dataclass(frozen=True)
class StudyComparison:
    """Facts about several studies, as texts.

    Attributes:
        names: the studies; the first one is the reference of the paired comparisons.
        results: a row of RESULT_COLUMNS and the question for each study.
        differences: for each setting in which the definitions differ its key, then a value for
            each study.
        confirmed: what `harness confirm` found, of studies that have a result.
        paired: a sentence for each other study: the comparison of the leading trials on the images
            that both have, or the reason why there is none.
    """

    names: tuple[str, ...]
    results: tuple[tuple[str, ...], ...]
    differences: tuple[tuple[str, ...], ...]
    confirmed: tuple[str, ...]
    paired: tuple[str, ...]


def compare_studies(studies: Sequence[StudyTables]) -> StudyComparison:
    """Compare studies that were read from their folders.

    Raises:
        UserError: fewer than two different studies.
    """
    names = tuple(tables.paths.name for tables in studies)
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise UserError("compare needs at least two different studies")
    return StudyComparison(
        names=names,
        results=tuple(_result_row(tables) for tables in studies),
        differences=tuple(_difference_rows(studies)),
        confirmed=tuple(
            f"{tables.paths.name}: {confirmation.sentence}"
            for tables in studies
            if (confirmation := load_confirmation(tables.paths)) is not None
            and confirmation.sentence
        ),
        paired=tuple(_paired_sentence(studies[0], other) for other in studies[1:]),
    )


def _result_row(tables: StudyTables) -> tuple[str, ...]:
    ranked, own = ranked_records(tables), [r for r in tables.records if r.imported is None]
    best: TrialRecord | None = ranked[0] if ranked else None
    states = [record.state for record in own]
    counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    seconds = sum(record.costs.get("cost/seconds", 0.0) for record in own)
    return (
        tables.paths.name,
        ABSENT if best is None else f"{tables.config.objective.metric} {best.value:.4f}",
        ABSENT if best is None else str(best.number),
        _metric_text(best, "best/dice"),
        _metric_text(best, "best/iou"),
        ", ".join(counts) or "none",
        format_duration(seconds) if seconds else ABSENT,
        tables.config.question or "",
    )


def _metric_text(record: TrialRecord | None, key: str) -> str:
    value = None if record is None else record.best.get(key)
    return ABSENT if value is None else f"{value:.4f}"


def _difference_rows(studies: Sequence[StudyTables]) -> list[tuple[str, ...]]:
    settings = [_flat_definition(tables) for tables in studies]
    keys = dict.fromkeys(key for flat in settings for key in flat)
    rows = [(key, *(flat.get(key, ABSENT) for flat in settings)) for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1]


def _flat_definition(tables: StudyTables) -> dict[str, str]:
    """Every setting of study.yaml and space.yaml as text; ids and names of files say nothing."""
    definition = tables.config.definition()
    for key in ("format", "id", "space", "taken"):
        definition.pop(key, None)
    imports = [plan["study"] for plan in definition.pop("imports", [])]
    priors = [prior["study"] for prior in definition.pop("priors", [])]
    # The fixed values of the study are those of its space with `--set` over them.
    space = {key: value for key, value in tables.space.items() if key != "fixed"}
    flat: dict[str, Any] = flatten(definition | {"imports": imports, "priors": priors})
    return {key: _value_text(value) for key, value in (flat | _flat_space(space)).items()}


def _flat_space(space: dict[str, Any]) -> dict[str, Any]:
    """One entry for each parameter and for each other part of a space."""
    flat = {f"space: {key}": value for key, value in space.items() if key != "parameters"}
    return flat | dict(space.get("parameters") or {})


def _value_text(value: Any) -> str:
    if isinstance(value, dict):
        return _range_text(value) if {"low", "high"} <= set(value) else _settings_text(value)
    if isinstance(value, list | tuple):
        items = [f"({_value_text(x)})" if isinstance(x, dict) else _value_text(x) for x in value]
        return f"[{', '.join(items)}]" if items else "none"
    return display_value(value)


def _range_text(value: dict[str, Any]) -> str:
    """Limits of a parameter, then what is not its default: `0.0001 to 0.01, log`."""
    limits = f"{_value_text(value['low'])} to {_value_text(value['high'])}"
    rest = {key: item for key, item in value.items() if key not in ("low", "high") and item}
    return ", ".join([limits, *([_settings_text(rest)] if rest else [])])


def _settings_text(value: dict[str, Any]) -> str:
    return ", ".join(
        key if item is True else f"{key} {_value_text(item)}" for key, item in value.items()
    )


def _paired_sentence(first: StudyTables, other: StudyTables) -> str:
    try:
        return f"{first.paths.name}: {compare_with_baseline(first, other).sentence}"
    except UserError as error:
        names = f"{first.paths.name} and {other.paths.name}"
        reason = str(error).replace(f"--baseline {other.paths.name}: ", "")
        reason = reason.replace("--baseline: ", "").replace(INCOMPARABLE, "").replace("\n", "; ")
        return f"{names} are not compared image by image: {reason}."
