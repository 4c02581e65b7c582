"""Base of every settings model: frozen, strict, flat keys, and errors that name file and key."""

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.core.annotations import mention_null
from harness.core.errors import ConfigError, suggest_nearest

_Model = TypeVar("_Model", bound=BaseModel)
ALLOW_UNREGISTERED = "any_part"  # of a validation's context


class StrictSettings(BaseModel):
    """Base of all settings: unknown keys are refused, types are strict, nothing changes later."""

    # Strict, because pydantic otherwise takes the text "8" for 8 and 1.0 for True. Frozen, because
    # records and caches keep a configuration and assume that it never changes.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the settings, those included that others have registered."""
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

    One test over the schema changes each field to its second value and sees the training change.

    Args:
        when: when the field acts, in one line.
        second: a legal value other than the default; `try` in the metadata.
        needs: full keys with the values they must have for it to act; `with` in the metadata.
        task: the only kind of task in which it acts with these.
        speed: it changes speed only, no number.
    """
    extra: dict[str, Any] = {"acts": when, "try": second}
    if needs:
        extra["with"] = dict(needs)
    if task is not None:
        extra["task"] = task
    return extra | ({"speed": True} if speed else {})


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"optim.lr": 1}` → `{"optim": {"lr": 1}}`."""
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
    """`{"optim": {"lr": 1}}` → `{"optim.lr": 1}`."""
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
    """Build a model. Raises ConfigError with one line per problem, each beginning with `source`.

    Args:
        allow_unregistered: for records that are only read: accept user-defined losses and metrics
            as they are, without the file that registers them.
    """
    try:
        return model.model_validate(value, context={ALLOW_UNREGISTERED: allow_unregistered})
    except ValidationError as error:
        raise ConfigError([_format_error(model, item, source) for item in error.errors()]) from None


def _format_error(model: type[BaseModel], item: Any, source: str) -> str:
    """One line of a pydantic error: place, key, what is wrong, what would be right."""
    key = ".".join(str(part) for part in item["loc"] if not _is_union_branch(part))
    if item["type"] == "extra_forbidden":
        names = _known_keys(model, item["loc"][:-1])
        return f"{source}: {key}: unknown setting{suggest_nearest(key, names)}"
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if item["type"] != "value_error":
        message = mention_null(message, _annotation_at(model, item["loc"]))
    got = "null" if item["input"] is None else repr(item["input"])
    got_text = "" if item["type"] == "value_error" else f" (got {got})"
    return f"{source}: {key}: {message}{got_text}" if key else f"{source}: {message}"


def _annotation_at(model: Any, location: tuple[Any, ...]) -> Any:
    """The annotation of the setting at a place; Any for one below a list or mapping."""
    annotation: Any = model
    names = [part for part in location if not _is_union_branch(part)]
    for name in names:
        fields = getattr(annotation, "model_fields", {})
        if name not in fields:
            return Any
        annotation = fields[name].annotation
    return annotation


def _is_union_branch(part: Any) -> bool:
    """Pydantic puts the name of a union's branch into the location; users know no branches."""
    return isinstance(part, str) and ("[" in part or part in {"int", "float", "str", "bool"})


def _known_keys(model: type[BaseModel], group: tuple[Any, ...]) -> list[str]:
    """The legal keys of the group of an unknown key, each with its group."""
    prefix = "".join(f"{part}." for part in group)
    for part in group:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    names = model.names() if issubclass(model, StrictSettings) else tuple(model.model_fields)
    return [f"{prefix}{name}" for name in names]


def literal_values(model: type[BaseModel], name: str) -> tuple[Any, ...]:
    """The legal values of a `Literal` field, else ()."""
    values = get_args(model.model_fields[name].annotation)
    return tuple(v for v in values if isinstance(v, str | int | float | bool))
