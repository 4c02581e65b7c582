"""Base of all settings models: strict and frozen, with flat keys and errors with file and key."""

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.core.annotations import mention_null
from harness.core.errors import ConfigError, suggest_nearest

_Model = TypeVar("_Model", bound=BaseModel)
ALLOW_UNREGISTERED = "any_part"  # key in pydantic's validation context


class StrictSettings(BaseModel):
    """Base of all settings: unknown keys are refused, types are strict, instances are frozen."""

    # Strict, because pydantic otherwise converts the text "8" to 8 and 1.0 to True. Frozen, because
    # records and caches store a configuration and assume that it never changes.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the settings, including those of registered components."""
        return tuple(cls.model_fields)


def field_effect(
    when: str,
    second: Any,
    *,
    needs: Mapping[str, Any] | None = None,
    task: str | None = None,
    speed: bool = False,
) -> dict[str, Any]:
    """Metadata of a field of the trial configuration (`json_schema_extra`).

    One test over the schema sets each field to its second value and expects another training
    result, so a setting that nothing reads cannot be added unnoticed.

    Args:
        when: condition under which the field has an effect, in one line.
        second: a legal value other than the default; `try` in the metadata.
        needs: full keys and values without which the field has no effect; `with` in the metadata.
        task: the only task in which the field has an effect together with `needs`.
        speed: the field changes speed only, not numbers.
    """
    extra: dict[str, Any] = {"acts": when, "try": second}
    if needs:
        extra["with"] = dict(needs)
    if task is not None:
        extra["task"] = task
    return extra | ({"speed": True} if speed else {})


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Build groups from full keys: `{"optim.lr": 1}` → `{"optim": {"lr": 1}}`.

    Raises:
        ConfigError: a key is both a value and a group.
    """
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, last = key.split(".")
        target = nested
        for group in groups:
            target = target.setdefault(group, {})
            if not isinstance(target, dict):
                raise ConfigError(f"{key}: {group} is a value, not a group")
        target[last] = value
    return nested


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Build full keys from groups: `{"optim": {"lr": 1}}` → `{"optim.lr": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def validate_settings(
    model: type[_Model], value: Mapping[str, Any], source: str, *, allow_unregistered: bool = False
) -> _Model:
    """Build a model from a mapping.

    Args:
        source: file or option that problems name.
        allow_unregistered: accept user-defined losses and metrics unchecked. Reports read studies
            without executing the file that registers them.

    Raises:
        ConfigError: all problems, one line each: `source: key: fault`.
    """
    try:
        return model.model_validate(value, context={ALLOW_UNREGISTERED: allow_unregistered})
    except ValidationError as error:
        raise ConfigError([_format_error(model, item, source) for item in error.errors()]) from None


def _format_error(model: type[BaseModel], item: Any, source: str) -> str:
    """Format one pydantic error as a line: source, key, fault, remedy."""
    key = ".".join(str(part) for part in item["loc"] if not _is_union_branch(part))
    if item["type"] == "extra_forbidden":
        names = _known_keys(model, item["loc"][:-1])
        return f"{source}: {key}: unknown setting{suggest_nearest(key, names)}"
    # Pydantic puts this prefix before the message of a ValueError from a validator.
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if item["type"] != "value_error":
        message = mention_null(message, _annotation_at(model, item["loc"]))
    got = "null" if item["input"] is None else repr(item["input"])
    got_text = "" if item["type"] == "value_error" else f" (got {got})"
    return f"{source}: {key}: {message}{got_text}" if key else f"{source}: {message}"


def _annotation_at(model: Any, location: tuple[Any, ...]) -> Any:
    """Annotation of the setting at a location; Any for an item of a list or mapping."""
    annotation: Any = model
    names = [part for part in location if not _is_union_branch(part)]
    for name in names:
        fields = getattr(annotation, "model_fields", {})
        if name not in fields:
            return Any
        annotation = fields[name].annotation
    return annotation


def _is_union_branch(part: Any) -> bool:
    """True if a part of a location is the branch of a union, which pydantic inserts, not a key."""
    return isinstance(part, str) and ("[" in part or part in {"int", "float", "str", "bool"})


def _known_keys(model: type[BaseModel], group: tuple[Any, ...]) -> list[str]:
    """Full keys that are legal in a group of settings; [] for a group that is not a model."""
    prefix = "".join(f"{part}." for part in group)
    for part in group:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    names = model.names() if issubclass(model, StrictSettings) else tuple(model.model_fields)
    return [f"{prefix}{name}" for name in names]


def literal_values(model: type[BaseModel], name: str) -> tuple[Any, ...]:
    """Legal values of a `Literal` field; () for other fields."""
    values = get_args(model.model_fields[name].annotation)
    return tuple(v for v in values if isinstance(v, str | int | float | bool))
