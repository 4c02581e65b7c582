"""JSON Schema (draft 2020-12) of the files of a study, for editors: space, study, trial."""

from collections.abc import Iterator, Mapping
from inspect import Parameter
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema

from harness.config.catalogue import BUILTIN_LOSSES, LossEntry
from harness.config.components import COMPONENT_NAME, get_components, losses
from harness.config.objective import metric_names
from harness.config.study import StudyConfig, TrialConfig
from harness.config.user_code import PARTS_FILE_NAME

SchemaKind = Literal["space", "study", "trial"]
SCHEMA_KINDS: tuple[SchemaKind, ...] = ("space", "study", "trial")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Keywords of our fields that JSON Schema does not define. They are removed: most validators ignore
# unknown keywords, but Ajv refuses them in its strict mode, which is its default.
_OWN_KEYWORDS = ("acts", "try", "with", "task", "speed")
OPTIONS_KEY, LOSS_KEY = r"^model\.options\.[A-Za-z_]\w*$", r"^loss\.[A-Za-z]\w*$"
Schema = dict[str, Any]


def json_schema(kind: SchemaKind) -> Schema:
    """The schema of a space, of `study.yaml`, or of a whole trial configuration.

    It describes the legal values of each key alone. Problems of several keys together are found
    by `harness check`.
    """
    if kind == "trial":
        return {"$schema": DIALECT, "title": "Trial configuration"} | _trial_schema()
    if kind == "study":
        return {"$schema": DIALECT, "title": "Study"} | _study_schema()
    return {"$schema": DIALECT, "title": "Search space"} | _space_schema()


def model_schema(model: type[BaseModel]) -> Schema:
    """Pydantic's schema of a model, without references and without keywords of our own."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    plain: Schema = _inline_references(schema, definitions)
    return plain


def trial_schemas() -> dict[str, Schema]:
    """The schema of each setting by its full key, without the options of the network."""
    return dict(_leaf_schemas(_trial_schema(), ""))


def _leaf_schemas(group: Schema, prefix: str) -> Iterator[tuple[str, Schema]]:
    for name, schema in group["properties"].items():
        if f"{prefix}{name}" == "model.options":
            continue
        if "properties" in schema:
            yield from _leaf_schemas(schema, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", schema


def _study_schema() -> Schema:
    """The schema of study.yaml as a user may write it, short forms included."""
    schema = model_schema(StudyConfig)
    members = schema["properties"]
    members["fixed"] = _mapping_schema(
        lambda value: {"anyOf": [value, _REFERENCE_SCHEMA]}, "values that override the space's"
    )
    file_schema = {"type": "string", "pattern": f"^{PARTS_FILE_NAME.pattern}$"}
    members["parts"] = {"anyOf": [file_schema, *members["parts"]["anyOf"]]}
    metric = members["objective"]["properties"]["metric"]
    metric["pattern"] = "^val/[A-Za-z][A-Za-z0-9_]*$"
    # Metrics of user code are known only if its file was imported; otherwise any name may be one.
    if get_components("metric"):
        metric["enum"] = list(metric_names())
    return schema


def _trial_schema() -> Schema:
    """The schema of a trial configuration, including the losses registered by user code."""
    schema = model_schema(TrialConfig)
    loss_schema = schema["properties"]["loss"]
    members = loss_schema["properties"]
    for entry in _registered_losses():
        description = f"weight of {entry.name}, from {entry.origin}"
        members[entry.name] = members["focal"] | {"description": description}
        for option in entry.options:
            members[entry.option_key(option)] = _annotation_schema(option.annotation)
    loss_schema["additionalProperties"] = False
    model = schema["properties"]["model"]["properties"]
    model["arch"]["pattern"] = f"^{COMPONENT_NAME.pattern}$"
    model["encoder_name"]["pattern"] = r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$"
    return schema


def _registered_losses() -> list[LossEntry]:
    return [entry for name, entry in losses().items() if name not in BUILTIN_LOSSES]


def _annotation_schema(annotation: Any) -> Schema:
    """The schema of an option; {} (anything) if JSON Schema cannot express its annotation."""
    if annotation is Parameter.empty:
        return {}
    try:
        schema = TypeAdapter(annotation).json_schema()
    except PydanticInvalidForJsonSchema:
        return {}
    plain: Schema = _inline_references(schema, schema.pop("$defs", {}))
    return plain


def _inline_references(node: Any, definitions: Mapping[str, Any]) -> Any:
    """A copy with `$ref` replaced by its definition, without titles and our own keywords.

    A recursive model would lead to endless recursion; no model of the settings is recursive.
    """
    if isinstance(node, list):
        return [_inline_references(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        node = target | {key: value for key, value in node.items() if key != "$ref"}
    # Below "properties" the keys are names of settings: one called "task" must not be removed.
    names = node.get("properties")
    entries = {k: v for k, v in node.items() if k not in (*_OWN_KEYWORDS, "title", "properties")}
    plain = {key: _inline_references(value, definitions) for key, value in entries.items()}
    if names is not None:
        plain["properties"] = {
            name: _inline_references(schema, definitions) for name, schema in names.items()
        }
    return plain


def _space_schema() -> Schema:
    conditions = {
        "type": "array",
        "items": _mapping_schema(_match_schema, "a combination: all of these together"),
    }
    rows = _mapping_schema(lambda value: value, "values by key")
    properties = {
        "format": {"const": 1},
        "parameters": _mapping_schema(_parameter_schema, "what varies, and how"),
        "fixed": _mapping_schema(lambda value: value, "values of every trial"),
        "forbid": conditions | {"description": "combinations that are not trained"},
        "enqueue": {"type": "array", "items": rows, "description": "rows to try first"},
        "rows": {
            "type": "array",
            "minItems": 1,
            "items": rows,
            "description": "each row is trained once, and nothing else",
        },
        "labels": {"type": "array", "description": "tags of each row"},
    }
    for name in ("parameters", "fixed", "forbid", "enqueue", "rows"):
        properties[name] = _or_null(properties[name])
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _or_null(schema: Schema) -> Schema:
    described = {k: v for k, v in schema.items() if k != "description"}
    return {"anyOf": [described, _NULL_SCHEMA], "description": schema["description"]}


_NULL_SCHEMA: Schema = {"type": "null"}
_REFERENCE_SCHEMA: Schema = {
    "type": "object",
    "properties": {"from": {"type": "string", "minLength": 1}},
    "required": ["from"],
    "additionalProperties": False,
    "description": "value of the best trial of that study",
}
_OPTION_SCHEMA: Schema = {"type": ["string", "number", "boolean", "null", "array"]}


def _mapping_schema(make_schema: Any, description: str) -> Schema:
    """Schema of a mapping by full or short key.

    Args:
        make_schema: Returns the schema of an entry, given the schema of the setting's value.
        description: Description of the mapping.
    """
    return {
        "type": "object",
        "description": description,
        "properties": {key: make_schema(schema) for key, schema in _key_schemas()},
        "patternProperties": {
            pattern: make_schema(_OPTION_SCHEMA) for pattern in _open_key_patterns()
        },
        "additionalProperties": False,
    }


def _open_key_patterns() -> tuple[str, ...]:
    """Patterns of keys whose names depend on other settings or files.

    While no user-defined loss is registered, any name may be one of these losses or an option.
    """
    if _registered_losses():
        return (OPTIONS_KEY,)
    return (OPTIONS_KEY, LOSS_KEY)


def _key_schemas() -> Iterator[tuple[str, Schema]]:
    """Every full key and every unambiguous last part, with the schema of its value."""
    schemas = trial_schemas()
    last_parts = [key.rpartition(".")[2] for key in schemas]
    for key, schema in schemas.items():
        yield key, schema
        if last_parts.count(key.rpartition(".")[2]) == 1:
            yield key.rpartition(".")[2], schema


def _match_schema(value: Schema) -> Schema:
    """Schema of a match: one value, a list of alternatives, or a range."""
    bounds = {name: {"type": "number"} for name in ("low", "high", "min", "max")}
    between = {"type": "object", "properties": bounds, "additionalProperties": False}
    between |= {"minProperties": 1}
    return {"anyOf": [value, {"type": "array", "minItems": 1, "items": value}, between]}


def _parameter_schema(value: Schema) -> Schema:
    choices = {"type": "array", "minItems": 1, "maxItems": 1000, "items": value}
    properties = {
        "choices": choices,
        "values": choices,
        "value": value,
        "low": {"type": "number"},
        "min": {"type": "number"},
        "high": {"type": "number"},
        "max": {"type": "number"},
        "step": {"type": ["number", "null"], "exclusiveMinimum": 0},
        "log": {"type": "boolean"},
        "when": {"anyOf": [_condition_schema(), _NULL_SCHEMA]},
    }
    kinds = [
        {"required": [name], "not": _require_any("low", "high", "min", "max", "step", "log")}
        for name in ("choices", "values", "value")
    ]
    lows, highs = _require_any("low", "min"), _require_any("high", "max")
    return {
        "type": "object",
        "description": value.get("description", ""),
        "properties": properties,
        "additionalProperties": False,
        "oneOf": [
            *kinds,
            {"allOf": [lows, highs], "not": _require_any("choices", "values", "value")},
        ],
    }


def _require_any(*names: str) -> Schema:
    return {"anyOf": [{"required": [name]} for name in names]}


def _condition_schema() -> Schema:
    """Schema of the `when` of a parameter. It checks keys only; the harness checks the values."""
    # With the schemas of all values under every key of `parameters`, the size would grow with the
    # square of the number of settings.
    names = [key for key, _ in _key_schemas()]
    return {
        "type": "object",
        "description": "active only if all of these hold",
        "propertyNames": {
            "anyOf": [{"enum": names}, *({"pattern": p} for p in _open_key_patterns())]
        },
    }
