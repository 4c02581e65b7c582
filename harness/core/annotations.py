"""Checks of values against the annotations of arguments."""

import inspect
import json
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def coerce_value(annotation: Any, value: Any) -> Any:
    """The value as an annotation takes it; a list, all that files have, may stand for a tuple."""
    if annotation is inspect.Parameter.empty:
        return value
    adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=_STRICT)
    try:
        return adapter.validate_python(value)
    except ValidationError:
        if not isinstance(value, list):
            raise
    return adapter.validate_json(json.dumps(value))  # an array there is a list or a tuple


def annotation_problem(annotation: Any, value: Any) -> str | None:
    """Reason why a value does not fit the annotation of an argument; None if it fits."""
    try:
        coerce_value(annotation, value)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        for phrase in ("an instance of Sequence", "a valid list", "a valid tuple", "a valid array"):
            message = message.replace(phrase, "a list")
        text = f"{message[0].lower()}{message[1:]}"
        return f"{mention_null(text, annotation)} (got {'null' if value is None else repr(value)})"
    return None


def mention_null(message: str, annotation: Any) -> str:
    """A message about the values of an annotation, which names null, as YAML has it, if legal."""
    if not accepts_null(annotation):
        return message
    if message.endswith(" or None"):
        return f"{message.removesuffix(' or None')} or null"
    return f"{message}, or null"


def accepts_null(annotation: Any) -> bool:
    """True if None is a value of an annotation: of a union, a Literal, or itself."""
    if annotation is None or annotation is type(None):
        return True
    if get_origin(annotation) is Annotated:
        return accepts_null(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType, Literal):
        return any(accepts_null(member) for member in get_args(annotation))
    return False
