"""Whether values fit the annotations of arguments."""

import inspect
import json
from typing import Any

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
        return f"{message[0].lower()}{message[1:]} (got {value!r})"
    return None
