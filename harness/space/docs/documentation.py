"""Descriptions of every setting: key, type, default, meaning, condition of its effect."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from harness.config.study import StudyConfig, TrialConfig
from harness.core.errors import ConfigError, suggest_nearest
from harness.space.docs.json_schema import SchemaKind, model_schema
from harness.space.parameters import format_value

SPACE_SETTINGS = (
    ("parameters", "mapping", "Searched keys: {choices: [...]}, or {low, high, step, log}."),
    ("parameters.KEY.choices", "list", "Values: null, true, numbers, text, lists."),
    ("parameters.KEY.low, high", "numbers", "Both included; two integers: whole numbers only."),
    ("parameters.KEY.step", "number", "Distance of neighbouring values; null: any value between."),
    ("parameters.KEY.log", "true or false", "Draw uniformly in the logarithm."),
    ("parameters.KEY.when", "mapping", "Active only if all of these hold; a list: any of them."),
    ("fixed", "mapping", "Values of every trial, by key."),
    ("forbid", "list", "Combinations not to train: {key: value, list or {low, high}}."),
    ("enqueue", "list", "Rows to try first, complete or partial: {key: value}."),
    ("rows", "list", "Instead of parameters: each row is one trial, in order, as in a CSV."),
    ("labels", "list", "Tags of each row: {name: text}."),
    ("format", "1", "Format version of this file; may be left out."),
)


@dataclass(frozen=True)
class SettingDoc:
    """Description of one setting for readers.

    Attributes:
        takes: Type and range, or the legal values.
        default: The default as written in YAML; "" if there is no default.
        acts: Condition under which the setting has an effect; "" if always, or not stated.
    """

    key: str
    takes: str
    default: str
    meaning: str
    acts: str = ""


def document_settings(kind: SchemaKind) -> list[SettingDoc]:
    """Every setting of a space, of `study.yaml`, or of a trial configuration, in file order."""
    if kind == "space":
        return [SettingDoc(key, takes, "", meaning) for key, takes, meaning in SPACE_SETTINGS]
    return list(_document_model(StudyConfig if kind == "study" else TrialConfig, ""))


def find_settings(key: str) -> list[SettingDoc]:
    """The settings with this full key, otherwise those of this group or with this last part.

    Raises:
        ConfigError: no setting matches; the message names the nearest.
    """
    settings = [
        setting for kind in ("trial", "study", "space") for setting in document_settings(kind)
    ]
    matches = [setting for setting in settings if setting.key == key]
    matches = matches or [setting for setting in settings if setting.key.startswith(f"{key}.")]
    matches = matches or [setting for setting in settings if setting.key.rpartition(".")[2] == key]
    if not matches:
        raise ConfigError(
            f"{key}: unknown setting{suggest_nearest(key, [setting.key for setting in settings])}"
        )
    return matches


def _document_model(model: type[BaseModel], prefix: str) -> Iterator[SettingDoc]:
    # Types and bounds come from the JSON Schema, not from the annotations: pydantic has merged
    # the bounds of Field and Annotated there, so help and validation cannot disagree.
    properties = model_schema(model)["properties"]
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _document_model(kind, f"{prefix}{name}.")
            continue
        schema = properties[name]
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        default = "" if field.is_required() else _format_default(schema.get("default"))
        meaning = field.description or ""
        yield SettingDoc(
            prefix + name, describe_type(schema), default, meaning, str(extra.get("acts", ""))
        )


def describe_type(schema: dict[str, Any]) -> str:
    """Type and range of a JSON Schema as text, e.g. `number, above 0, at most 10, or null`."""
    if "anyOf" in schema:
        return ", or ".join(describe_type(branch) for branch in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(_format_default(value) for value in schema["enum"])
    if "const" in schema:
        return _format_default(schema["const"])
    kind = schema.get("type", "anything")
    if kind == "array":
        items = schema.get("prefixItems") or [schema.get("items", {})]
        return f"list of {' and '.join(dict.fromkeys(describe_type(item) for item in items))}"
    words = [{"object": "mapping", "string": "text", "integer": "whole number"}.get(kind, kind)]
    for name, word in _BOUND_WORDS.items():
        if name in schema:
            words.append(f"{word} {_format_default(schema[name])}")
    return ", ".join(words)


_BOUND_WORDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def _format_default(value: Any) -> str:
    return value if isinstance(value, str) else format_value(value)
