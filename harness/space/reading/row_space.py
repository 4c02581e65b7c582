"""Build and check spaces given as rows: one trial for each row, in order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.config.study import TrialConfig
from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.space.checks import inactive
from harness.space.keys import OPTIONS_PREFIX, full_key, setting_problem
from harness.space.parameters import Categorical, format_value, same_value
from harness.space.space import AllowedValues, SearchSpace

MAX_ROWS = 5_000

RowProblem = tuple[str, str]  # (full key or "", what is wrong)


def parameters_from_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[Categorical, ...]:
    """A categorical for each key of the rows; keys and values in order of first appearance.

    Raises:
        ConfigError: both true and 1, or both false and 0, for one key.
    """
    # By Python's equality 1 and true are one choice, and Optuna compares choices by it too.
    values_by_key: dict[str, dict[Any, Any]] = {}
    problems = []
    for row in rows:
        for key, value in row.items():
            stored = Categorical(key, ()).to_optuna(value)
            first = values_by_key.setdefault(key, {}).setdefault(stored, value)
            if not same_value(first, value):
                problem = (
                    f"{key}: {format_value(first)} in one row and {format_value(value)} in another"
                )
                problems.append(f"{problem}; write the same value in both")
    if problems:
        raise ConfigError(sorted(set(problems)))
    return tuple(Categorical(key, tuple(values.values())) for key, values in values_by_key.items())


def space_from_rows(
    rows: Sequence[dict[str, Any]],
    fixed: dict[str, Any],
    *,
    labels: Sequence[dict[str, str]] = (),
    locations: Sequence[str] = (),
) -> SearchSpace:
    """The space of these rows, by full keys.

    Raises:
        ConfigError: too many rows or cells, or values of a key that cannot be told apart; the
            message has no location.
    """
    if len(rows) > MAX_ROWS:
        raise ConfigError(f"{len(rows):,} rows; at most {MAX_ROWS:,} are read")
    row_labels = tuple(labels) if any(labels) else ()
    space = SearchSpace(
        parameters_from_rows(rows),
        fixed,
        rows=tuple(rows),
        labels=row_labels,
        row_locations=tuple(locations),
    )
    # A study records its space as YAML, and the reader refuses files above the limit: a study
    # that cannot be opened again must not start.
    size = len(strict_yaml.dump_yaml(space.as_dict()).encode())
    if size > strict_yaml.MAX_BYTES:
        raise ConfigError("too many cells to record in 1 MB; move constant columns to --set")
    return space


def resolve_overrides(overrides: Mapping[str, Any], legal: AllowedValues) -> dict[str, Any]:
    """Fixed values by full key, without unknown keys and illegal values.

    These are reported where the fixed values themselves are checked.
    """
    resolved = {}
    for short_key, value in overrides.items():
        try:
            key = full_key(short_key, legal)
        except ConfigError:
            continue
        if setting_problem(key, value, legal) is None:
            resolved[key] = value
    return resolved


def is_inactive(key: str, settings: Mapping[str, Any], legal: AllowedValues) -> bool:
    """True if a setting has no effect with these settings, so that a row may leave it out.

    Args:
        key: A full key.
        settings: The row and the fixed values, by full key; all others have their defaults.
        legal: The constructor options of each architecture.
    """
    all_settings = TrialConfig().flat() | dict(settings)
    if key.startswith(OPTIONS_PREFIX):
        options = legal.options.get(all_settings["model.arch"])
        return options is not None and key.removeprefix(OPTIONS_PREFIX) not in options
    return inactive.inactive_given(key, all_settings) is not None


def row_problems(
    row: Mapping[str, Any], fixed: Mapping[str, Any], legal: AllowedValues
) -> Iterator[RowProblem]:
    """Problems of a row whose values are legal one by one, but cannot be trained together."""
    all_settings = TrialConfig().flat() | dict(fixed) | dict(row)
    options = legal.options.get(all_settings["model.arch"])
    for key in row:
        if key.startswith(OPTIONS_PREFIX) and options is not None:
            name = key.removeprefix(OPTIONS_PREFIX)
            if name not in options:
                arch, names = all_settings["model.arch"], ", ".join(sorted(options))
                hint = f"choose from {names}" if names else "this architecture has no options"
                yield key, f"unknown option of {arch}; {hint}"
    reason = SearchSpace(fixed=dict(fixed)).refusal_reason(row)
    if reason is not None:
        yield "", reason.replace("this combination: ", "")


def check_row_space(space: SearchSpace, legal: AllowedValues) -> None:
    """Check every row of a space together with its fixed values.

    Raises:
        ConfigError: every row that cannot be trained, and every column that never has an effect.
    """
    problems = []
    for i, row in enumerate(space.rows):
        location = space.row_locations[i] if space.row_locations else f"row {i + 1}"
        for key, message in row_problems(row, space.fixed, legal):
            problems.append(f"{location}: {key}: {message}" if key else f"{location}: {message}")
    for parameter in space.parameters:
        reason = inactive_column_reason(parameter.key, space.rows, space.fixed)
        if reason is not None:
            location = space.row_locations[0] if space.row_locations else "rows"
            problems.append(f"{location}: {parameter.key}: {reason}")
    if problems:
        raise ConfigError(problems)


def inactive_column_reason(
    key: str, rows: Sequence[Mapping[str, Any]], fixed: Mapping[str, Any]
) -> str | None:
    """Reason why a column that varies has no effect in any row; None if it has one in some row."""
    values = [row[key] for row in rows if key in row]
    if not values or all(same_value(value, values[0]) for value in values):
        return None  # a constant column is like a fixed value, which may be without effect
    defaults = TrialConfig().flat() | dict(fixed)
    reasons = [inactive.inactive_given(key, defaults | dict(row)) for row in rows if key in row]
    return None if None in reasons else f"has no effect in any row: {reasons[0]}"
