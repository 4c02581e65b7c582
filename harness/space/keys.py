"""Keys of the trial configuration: resolve short keys to full ones, check the value of a key."""

import math
import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from harness.config.loss import find_loss_setting
from harness.config.study import TrialConfig, trial_keys
from harness.core.errors import ConfigError, suggest_nearest
from harness.space.parameters import format_value
from harness.space.space import AllowedValues

OPTIONS_PREFIX = "model.options."
# Names of other tools, too different in spelling for difflib to find the key from them.
_FOREIGN_NAMES = {
    "architecture": "model.arch",
    "backbone": "model.encoder_name",
    "encoder": "model.encoder_name",
    "learning_rate": "optim.lr",
    "optimizer": "optim.name",
}


def known_keys(legal: AllowedValues) -> tuple[str, ...]:
    """Every key that a space may name, including the constructor options listed in `legal`."""
    names = sorted({name for options in legal.options.values() for name in options})
    return (*trial_keys(), *(OPTIONS_PREFIX + name for name in names))


def full_key(name: str, legal: AllowedValues) -> str:
    """The full key of `name`: a full key itself, or its last part if that is unambiguous.

    Raises:
        ConfigError: the key does not exist or is ambiguous; the message has no location.
    """
    keys = known_keys(legal)
    if name in keys:
        return name
    # Without imported networks the names of their options are unknown: any identifier is accepted.
    if (
        not legal.options
        and name.startswith(OPTIONS_PREFIX)
        and _is_name(name[len(OPTIONS_PREFIX) :])
    ):
        return name
    if "." not in name:
        matches = [key for key in keys if key.rsplit(".", 1)[-1] == name]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise ConfigError(f"is ambiguous; write {' or '.join(matches)}")
    group = [key for key in keys if key.startswith(f"{name}.")]
    if group:
        raise ConfigError(f"is a group; name one of its settings, e.g. {group[0]}")
    raise ConfigError(f"unknown setting{_suggest_key(name, keys)}")


def closest_keys(misspelling: str, keys: Collection[str]) -> list[str]:
    """The known keys most similar to a misspelt one; [] if none is similar.

    Keys of the same group come first: compared as whole texts, a long common prefix such as
    `model.options.` would make keys alike whose last parts have nothing in common.
    """
    group, _, last = misspelling.rpartition(".")
    if last in _FOREIGN_NAMES:
        return [_FOREIGN_NAMES[last]]
    in_group = {key.rpartition(".")[2]: key for key in keys if key.rpartition(".")[0] == group}
    close = [in_group[name] for name in get_close_matches(last, in_group, n=1)]
    if not close and not in_group:
        close = get_close_matches(misspelling, keys, n=1)
    if not close:
        by_last = {key.rpartition(".")[2]: key for key in keys}
        close = [by_last[name] for name in get_close_matches(last, by_last, n=2)]
    return close


def _suggest_key(name: str, keys: Collection[str]) -> str:
    likely = closest_keys(name, keys)
    if likely:
        return f"; did you mean {' or '.join(likely)}?"
    siblings = [key for key in keys if key.rpartition(".")[0] == name.rpartition(".")[0]]
    if siblings:
        return f"; choose from {', '.join(siblings)}"
    return (
        f"; settings begin with {', '.join(f'{section}.' for section in TrialConfig.model_fields)}"
    )


def setting_problem(key: str, value: Any, legal: AllowedValues) -> str | None:
    """Reason why a setting cannot have this value, whatever the other settings are; None if it can.

    Args:
        key: A full key.
        value: As read from YAML.
    """
    if isinstance(value, dict):
        return "is a group here; write one line for each full key"
    if not _is_finite(value):
        return f"must be a finite number below 2**63 (got {format_value(value)})"
    legal_values = legal.values.get(key)
    if legal_values is not None and (isinstance(value, list) or value not in legal_values):
        return (
            f"unknown value {format_value(value)}"
            f"{suggest_nearest(str(value), map(str, legal_values))}"
        )
    try:
        TrialConfig.from_flat({key: value}, source="")
    except ConfigError as error:
        # All other settings have their defaults here. A problem of several keys together names
        # only their group and may vanish with other values, so it does not count; a problem of
        # one item of a list ends in the item's index.
        pattern = re.compile(rf": {re.escape(key)}(?:\.(\d+))?: ")
        matches = [(pattern.match(line), line) for line in error.problems]
        messages = [
            (f"item {int(match[1]) + 1}: " if match[1] else "") + line[match.end() :]
            for match, line in matches
            if match is not None
        ]
        if messages:
            return messages[0].replace(repr(value), format_value(value)) + _hint(key, value)
    check = legal.checks.get(key)
    return None if check is None else check(value)


def accepts_floats(key: str) -> bool:
    """True if the setting is a float, so that 0.5 is legal where 0 and 1 are."""
    setting = find_loss_setting(key.removeprefix("loss.")) if key.startswith("loss.") else None
    if setting is not None:
        option = setting[1]
        return option is None or "float" in str(option.annotation)
    model, name = _model_field(key)
    if model is None:
        return False
    kind = str(model.model_fields[name].annotation)
    return "float" in kind


def _model_field(key: str) -> tuple[type[BaseModel] | None, str]:
    """The model with the field of a key, and the name of the field; None for keys without one."""
    *groups, name = key.split(".")
    model: Any = TrialConfig
    if key.startswith(OPTIONS_PREFIX):
        return None, name
    for group in groups:
        if group not in getattr(model, "model_fields", {}):
            return None, name
        model = model.model_fields[group].annotation
    return (model if name in getattr(model, "model_fields", {}) else None), name


def _hint(key: str, value: Any) -> str:
    """Suggestion for a value of the wrong type: the likely intention of the user, or ""."""
    if not isinstance(value, str):
        return ""
    if _looks_like_number(value):
        return "; remove the quotes"
    model, name = _model_field(key)
    literals = [] if model is None else _literal_texts(model.model_fields[name].annotation)
    close = get_close_matches(value, literals, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _literal_texts(kind: Any) -> list[str]:
    """The texts of a Literal, also of a Literal inside a union."""
    return [
        text
        for part in get_args(kind)
        for text in ([part] if isinstance(part, str) else _literal_texts(part))
    ]


def _looks_like_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_finite(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_finite(item) for item in value)
    if isinstance(value, int):
        return abs(value) < 2**63  # integers of SQLite and PostgreSQL have 64 bits with sign
    return not isinstance(value, float) or math.isfinite(value)


def _is_name(text: str) -> bool:
    return text.isidentifier()
