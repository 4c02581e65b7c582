"""Validate values against the type annotations of arguments."""

import inspect
import json
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

# Strict: otherwise pydantic converts the text "8" to 8 and True to 1.
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def coerce_value(annotation: Any, value: Any) -> Any:
    """The value in the type of the annotation; a list is accepted where a tuple is required.

    Raises:
        ValidationError: the value does not fit the annotation.
    """
    if annotation is inspect.Parameter.empty:
        return value
    adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=_STRICT)
    try:
        return adapter.validate_python(value)
    except ValidationError:
        if not isinstance(value, list):
            raise
    # YAML and CSV have lists only. Strict mode refuses a list for a tuple in Python values, but
    # not an array in JSON, which has one sequence type too.
    return adapter.validate_json(json.dumps(value))


def annotation_problem(annotation: Any, value: Any) -> str | None:
    """Reason why a value does not fit the annotation of an argument; None if it fits."""
    try:
        coerce_value(annotation, value)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        # The message is for the author of a YAML file, where each of these types is a list.
        for phrase in ("an instance of Sequence", "a valid list", "a valid tuple", "a valid array"):
            message = message.replace(phrase, "a list")
        text = f"{message[0].lower()}{message[1:]}"
        return f"{mention_null(text, annotation)} (got {'null' if value is None else repr(value)})"
    return None


def mention_null(message: str, annotation: Any) -> str:
    """Extend a message about legal values by `null`, YAML's None, if the annotation allows it."""
    if not accepts_null(annotation):
        return message
    if message.endswith(" or None"):
        return f"{message.removesuffix(' or None')} or null"
    return f"{message}, or null"


def accepts_null(annotation: Any) -> bool:
    """True if an annotation allows None: as itself, or as a member of a union or a Literal."""
    if annotation is None or annotation is type(None):
        return True
    if get_origin(annotation) is Annotated:
        return accepts_null(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType, Literal):
        return any(accepts_null(member) for member in get_args(annotation))
    return False
