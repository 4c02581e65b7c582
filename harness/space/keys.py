"""Keys of the trial configuration: full from short, and whether a value is legal under one."""

import math
import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from harness.config import TrialConfig, trial_keys
from harness.errors import ConfigError, nearest
from harness.loss_config import loss_setting
from harness.space.parameters import shown
from harness.space.schema import Legal

OPTIONS = "model.options."
# What people coming from other tools write, and no comparison of letters would find.
_ELSEWHERE = {
    "architecture": "model.arch",
    "backbone": "model.encoder_name",
    "encoder": "model.encoder_name",
    "learning_rate": "optim.lr",
    "optimizer": "optim.name",
}


def known_keys(legal: Legal) -> tuple[str, ...]:
    """Every key a space may name; constructor options as far as `legal` knows them."""
    names = sorted({name for options in legal.options.values() for name in options})
    return (*trial_keys(), *(OPTIONS + name for name in names))


def full_key(written: str, legal: Legal) -> str:
    """The full key of a full key, or of the last part of one when it is unambiguous.

    Raises:
        ConfigError: no such key, or several; the message has no place.
    """
    known = known_keys(legal)
    if written in known:
        return written
    if not legal.options and written.startswith(OPTIONS) and _is_name(written[len(OPTIONS) :]):
        return written
    if "." not in written:
        found = [key for key in known if key.rsplit(".", 1)[-1] == written]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(f"is ambiguous; write {' or '.join(found)}")
    raise ConfigError(f"no such setting{_instead(written, known)}")


def likely_keys(written: str, known: Collection[str]) -> list[str]:
    """The known keys that a misspelt one resembles most: in its group, as a whole, by last part."""
    group, _, last = written.rpartition(".")
    if last in _ELSEWHERE:
        return [_ELSEWHERE[last]]
    in_group = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == group}
    close = [in_group[name] for name in get_close_matches(last, in_group, n=1)]
    if not close and not in_group:
        close = get_close_matches(written, known, n=1)
    if not close:
        by_last = {key.rpartition(".")[2]: key for key in known}
        close = [by_last[name] for name in get_close_matches(last, by_last, n=2)]
    return close


def _instead(written: str, known: Collection[str]) -> str:
    group = [key for key in known if key.startswith(f"{written}.")]
    likely = likely_keys(written, known)
    if group:
        return f" but a group; name one of its settings, e.g. {group[0]}"
    if likely:
        return f"; did you mean {' or '.join(likely)}?"
    beside = [key for key in known if key.rpartition(".")[0] == written.rpartition(".")[0]]
    if beside:
        return f"; one of {', '.join(beside)}"
    return f"; settings begin with {', '.join(f'{one}.' for one in TrialConfig.model_fields)}"


def problem_with(key: str, value: Any, legal: Legal) -> str | None:
    """Why a setting cannot have this value, whatever the others are; None: it can.

    Args:
        key: A full key.
        value: As read from YAML.
    """
    if isinstance(value, dict):
        return "is a group here; write one line for each full key"
    if not _is_finite(value):
        return f"must be a finite number below 2**63 (got {shown(value)})"
    legal_values = legal.values.get(key)
    if legal_values is not None and (isinstance(value, list) or value not in legal_values):
        return f"no such value {shown(value)}{nearest(str(value), map(str, legal_values))}"
    try:
        TrialConfig.from_flat({key: value}, place="")
    except ConfigError as error:
        # Problems of a whole group may be healed by other keys; those of an item have its index.
        mine = re.compile(rf": {re.escape(key)}(?:\.(\d+))?: ")
        found = [(mine.match(line), line) for line in error.problems]
        own = [
            (f"item {int(at[1]) + 1}: " if at[1] else "") + line[at.end() :]
            for at, line in found
            if at is not None
        ]
        if own:
            return own[0].replace(repr(value), shown(value)) + _hint(key, value)
    check = legal.checks.get(key)
    return None if check is None else check(value)


def takes_fractions(key: str) -> bool:
    """Whether the setting is a float, so that 0.5 would be legal under it where 0 and 1 are."""
    setting = loss_setting(key.removeprefix("loss.")) if key.startswith("loss.") else None
    if setting is not None:
        part, option = setting
        return option is None or "float" in str(part.options[option].annotation)
    model, name = _field(key)
    if model is None:
        return False
    kind = str(model.model_fields[name].annotation)
    return "float" in kind


def _field(key: str) -> tuple[type[BaseModel] | None, str]:
    group, _, name = key.partition(".")
    if key.startswith(OPTIONS) or group not in TrialConfig.model_fields:
        return None, name
    model: Any = TrialConfig.model_fields[group].annotation
    return (model if name in model.model_fields else None), name


def _hint(key: str, value: Any) -> str:
    """What a person may have meant by a value of the wrong kind."""
    if not isinstance(value, str):
        return ""
    if _looks_like_number(value):
        return "; take the quotes away"
    model, name = _field(key)
    literals = [] if model is None else _texts(model.model_fields[name].annotation)
    close = get_close_matches(value, literals, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _texts(kind: Any) -> list[str]:
    """The texts of a Literal, also of one branch of a union."""
    return [
        text
        for part in get_args(kind)
        for text in ([part] if isinstance(part, str) else _texts(part))
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
        return abs(value) < 2**63  # databases hold no more
    return not isinstance(value, float) or math.isfinite(value)


def _is_name(text: str) -> bool:
    return text.isidentifier()
