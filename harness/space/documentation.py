"""Every setting described: key, what it takes, default, meaning, when it acts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from harness.config import StudyConfig, TrialConfig
from harness.errors import ConfigError, nearest
from harness.space.json_schema import Kind, model_schema
from harness.space.parameters import shown

SPACE = (
    ("parameters", "mapping", "What varies, by key: {choices: [...]}, or {low, high, step, log}."),
    ("parameters.KEY.choices", "list", "Values: null, true, numbers, text, lists."),
    ("parameters.KEY.low, high", "numbers", "Both included; two integers: whole numbers."),
    ("parameters.KEY.step", "number", "Distance of neighbouring values; null: any between."),
    ("parameters.KEY.log", "true or false", "Uniform in the logarithm."),
    ("parameters.KEY.when", "mapping", "In force only where all of these hold; a list: any of."),
    ("fixed", "mapping", "Values of every trial, by key."),
    ("forbid", "list", "Combinations not trained: {key: value, list or {low, high}}."),
    ("enqueue", "list", "Rows to try first, in whole or in part: {key: value}."),
    ("rows", "list", "Instead of parameters: each row is one trial, in order; as a CSV has them."),
    ("labels", "list", "Tags of each row: {name: text}."),
    ("format", "1", "Of this file; may be left out."),
)


@dataclass(frozen=True)
class Setting:
    """One setting as a person reads of it.

    Attributes:
        takes: Type and range, or the legal values.
        default: As it is written in YAML; "" where there is none.
        acts: When it has an effect; "" always, or nothing is said.
    """

    key: str
    takes: str
    default: str
    meaning: str
    acts: str = ""


def settings_of(kind: Kind) -> list[Setting]:
    """Every setting of a space, of `study.yaml`, or of a trial configuration, in its order."""
    if kind == "space":
        return [Setting(key, takes, "", meaning) for key, takes, meaning in SPACE]
    return list(_of_model(StudyConfig if kind == "study" else TrialConfig, ""))


def find_setting(key: str) -> list[Setting]:
    """The settings of that full key, of that last part, or of that group.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    every = [one for kind in ("trial", "study", "space") for one in settings_of(kind)]
    found = [one for one in every if one.key == key]
    found = found or [one for one in every if one.key.startswith(f"{key}.")]
    found = found or [one for one in every if one.key.rpartition(".")[2] == key]
    if not found:
        raise ConfigError(f"{key}: no such setting{nearest(key, [one.key for one in every])}")
    return found


def _of_model(model: type[BaseModel], prefix: str) -> Iterator[Setting]:
    properties = model_schema(model)["properties"]
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _of_model(kind, f"{prefix}{name}.")
            continue
        schema = properties[name]
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        default = "" if field.is_required() else _written(schema.get("default"))
        meaning = field.description or ""
        yield Setting(prefix + name, takes(schema), default, meaning, str(extra.get("acts", "")))


def takes(schema: dict[str, Any]) -> str:
    """Type and range of a JSON Schema in words, e.g. `number, above 0, at most 10, or null`."""
    if "anyOf" in schema:
        return ", or ".join(takes(branch) for branch in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(_written(value) for value in schema["enum"])
    if "const" in schema:
        return _written(schema["const"])
    kind = schema.get("type", "anything")
    if kind == "array":
        items = schema.get("prefixItems") or [schema.get("items", {})]
        return f"list of {' and '.join(dict.fromkeys(takes(item) for item in items))}"
    words = [{"object": "mapping", "string": "text", "integer": "whole number"}.get(kind, kind)]
    for name, word in _SIDES.items():
        if name in schema:
            words.append(f"{word} {_written(schema[name])}")
    return ", ".join(words)


_SIDES = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def _written(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)
