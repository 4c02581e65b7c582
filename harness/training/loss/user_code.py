"""Calls of user-defined losses and metrics: an exception in one names it and its line."""

from typing import Any

from harness.config.component_interface import Component
from harness.config.user_code import describe_exception, locate_error
from harness.core.errors import ConfigError, HarnessError
from harness.training.loop.errors import is_out_of_memory


def call_component(part: Component, **arguments: Any) -> Any:
    """Call a loss or metric, with arguments by name.

    Raises:
        ConfigError: an exception in a user-defined part, as `file:line: loss 'x': text`. Lack of
            memory is raised unchanged, since it is no mistake in that code.
    """
    if part.is_builtin:
        return part.build(**arguments)
    try:
        return part.build(**arguments)
    # An error of ours has its own advice, and lack of memory is no mistake in the called code.
    except (MemoryError, HarnessError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        code_location = locate_error(error, part.origin)
        raise ConfigError(
            f"{code_location}: {part.kind} {part.name!r}: {describe_exception(error)}"
        ) from error
