"""Whether values fit the annotations of arguments."""

import inspect
import json
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def fitted(annotation: Any, value: Any) -> Any:
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


def value_problem(annotation: Any, value: Any) -> str | None:
    """Why a value does not fit the annotation of an argument; None: it does, or there is none."""
    try:
        fitted(annotation, value)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        for theirs in ("an instance of Sequence", "a valid list", "a valid tuple", "a valid array"):
            message = message.replace(theirs, "a list")
        shown = f"{message[0].lower()}{message[1:]}"
        return f"{with_null(shown, annotation)} (got {'null' if value is None else repr(value)})"
    return None


def with_null(message: str, annotation: Any) -> str:
    """A message about the values of an annotation, which names null, as YAML has it, if legal."""
    if not takes_null(annotation):
        return message
    if message.endswith(" or None"):
        return f"{message.removesuffix(' or None')} or null"
    return f"{message}, or null"


def takes_null(annotation: Any) -> bool:
    """Whether None is among the values of an annotation: of a union, a Literal, or itself."""
    if annotation is None or annotation is type(None):
        return True
    if get_origin(annotation) is Annotated:
        return takes_null(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType, Literal):
        return any(takes_null(one) for one in get_args(annotation))
    return False
