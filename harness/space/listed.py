"""Spaces that are a list of rows: one row, one trial, in order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import strict_yaml
from harness.config import TrialConfig
from harness.errors import ConfigError
from harness.space import checks
from harness.space.keys import OPTIONS, full_key, problem_with
from harness.space.parameters import Choice, same, shown
from harness.space.schema import Legal, Space

MAX_ROWS = 5_000

Problem = tuple[str, str]  # (full key or "", what is wrong)


def parameters_of(rows: Sequence[Mapping[str, Any]]) -> tuple[Choice, ...]:
    """For each key of the rows the values it takes, both in the order in which they come.

    Raises:
        ConfigError: true beside 1, or false beside 0: Optuna takes them for one choice.
    """
    found: dict[str, dict[Any, Any]] = {}
    problems = []
    for row in rows:
        for key, value in row.items():
            stored = Choice(key, ()).stored(value)
            first = found.setdefault(key, {}).setdefault(stored, value)
            if not same(first, value):
                problem = f"{key}: {shown(first)} in one row and {shown(value)} in another"
                problems.append(f"{problem}; write both alike")
    if problems:
        raise ConfigError(sorted(set(problems)))
    return tuple(Choice(key, tuple(values.values())) for key, values in found.items())


def space_of_rows(
    rows: Sequence[dict[str, Any]],
    fixed: dict[str, Any],
    *,
    labels: Sequence[dict[str, str]] = (),
    places: Sequence[str] = (),
) -> Space:
    """The space of these rows, by full keys.

    Raises:
        ConfigError: too many of them, or values of a key that cannot be told apart; no place.
    """
    if len(rows) > MAX_ROWS:
        raise ConfigError(f"{len(rows):,} rows; at most {MAX_ROWS:,} are read")
    named = tuple(labels) if any(labels) else ()
    space = Space(parameters_of(rows), fixed, rows=tuple(rows), labels=named, places=tuple(places))
    size = len(strict_yaml.dump(space.as_dict()).encode())
    if size > strict_yaml.MAX_BYTES:
        raise ConfigError("too many cells to be recorded in 1 MB; put constant columns in --set")
    return space


def known_beside(beside: Mapping[str, Any], legal: Legal) -> dict[str, Any]:
    """Fixed values by full key; keys and values that are wrong are reported elsewhere."""
    known = {}
    for short, value in beside.items():
        try:
            key = full_key(short, legal)
        except ConfigError:
            continue
        if problem_with(key, value, legal) is None:
            known[key] = value
    return known


def does_not_apply(key: str, settings: Mapping[str, Any], legal: Legal) -> bool:
    """Whether a setting has no effect beside all others, so that it may be left out of a row.

    Args:
        key: A full key.
        settings: The row and the fixed values, by full key; the rest has its default.
        legal: The constructor options of each architecture.
    """
    beside = TrialConfig().flat() | dict(settings)
    if key.startswith(OPTIONS):
        options = legal.options.get(beside["model.arch"])
        return options is not None and key.removeprefix(OPTIONS) not in options
    return checks.idle_beside(key, beside) is not None


def row_problems(
    row: Mapping[str, Any], fixed: Mapping[str, Any], legal: Legal
) -> Iterator[Problem]:
    """Why a row cannot be trained, although each of its values is legal alone."""
    beside = TrialConfig().flat() | dict(fixed) | dict(row)
    options = legal.options.get(beside["model.arch"])
    for key in row:
        if key.startswith(OPTIONS) and options is not None:
            name = key.removeprefix(OPTIONS)
            if name not in options:
                takes = ", ".join(sorted(options)) or "none"
                yield key, f"{beside['model.arch']} has no such option; it takes {takes}"
    reason = Space(fixed=dict(fixed)).forbidden(row)
    if reason is not None:
        yield "", reason.replace("this combination: ", "")


def check_listed(space: Space, legal: Legal) -> None:
    """Check every row of a space beside its fixed values.

    Raises:
        ConfigError: every row that cannot be trained, and every column that never acts.
    """
    problems = []
    for i, row in enumerate(space.rows):
        place = space.places[i] if space.places else f"row {i + 1}"
        for key, what in row_problems(row, space.fixed, legal):
            problems.append(f"{place}: {key}: {what}" if key else f"{place}: {what}")
    for parameter in space.parameters:
        idle = never_acts(parameter.key, space.rows, space.fixed)
        if idle is not None:
            place = space.places[0] if space.places else "rows"
            problems.append(f"{place}: {parameter.key}: {idle}")
    if problems:
        raise ConfigError(problems)


def never_acts(key: str, rows: Sequence[Mapping[str, Any]], fixed: Mapping[str, Any]) -> str | None:
    """Why a key that varies has no effect in any row that gives it; None: it has one somewhere."""
    given = [row[key] for row in rows if key in row]
    if not given or all(same(value, given[0]) for value in given):
        return None  # as good as a fixed value
    defaults = TrialConfig().flat() | dict(fixed)
    reasons = [checks.idle_beside(key, defaults | dict(row)) for row in rows if key in row]
    return None if None in reasons else f"cannot act in any row: {reasons[0]}"
