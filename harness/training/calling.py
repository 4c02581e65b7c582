"""Calling parts that others wrote: what goes wrong in them names them and their line."""

from typing import Any

from harness.errors import ConfigError, HarnessError
from harness.parts import Part
from harness.parts_files import last_words, place_of
from harness.training.errors import is_out_of_memory


def call_part(part: Part, **arguments: Any) -> Any:
    """Call a loss or metric; arguments by name.

    Raises:
        ConfigError: an exception in a part that is not ours, as `file:line: loss 'x': what`.
            Want of memory is passed on as it is: that is nobody's mistake in the code.
    """
    if part.is_ours:
        return part.build(**arguments)
    try:
        return part.build(**arguments)
    except (MemoryError, HarnessError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        place = place_of(error, part.origin)
        raise ConfigError(f"{place}: {part.kind} {part.name!r}: {last_words(error)}") from error
