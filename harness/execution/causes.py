"""Why a trial failed, in one word: what its worker raised, sorted.

The other causes need somebody outside: `harness.search.failures` sorts workers that vanished or
fell silent.
"""

import traceback

from harness import files
from harness.errors import DataError, UserError
from harness.records import Failure
from harness.training.errors import DivergedError, is_out_of_memory

_LONGEST = 8000  # characters of a traceback
SHARED = "/dev/shm"  # noqa: S108  # where Linux keeps shared memory


def sort_failure(error: BaseException) -> Failure:
    """The cause of a failure, with its message and traceback."""
    text = "".join(traceback.format_exception(error))
    return Failure(
        cause=cause_of(error),
        message=f"{type(error).__name__}: {error}",
        traceback=text[-_LONGEST:],
    )


def cause_of(error: BaseException) -> str:
    """The cause in one word; see `harness.records.Failure`."""
    text = str(error)
    if is_out_of_memory(error):
        return "out_of_memory"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        return "host_out_of_memory"
    if isinstance(error, OSError | RuntimeError) and _is_shared_memory(error):
        return "shared_memory"
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, DataError):
        return "bad_data"
    if isinstance(error, UserError):
        return "bad_configuration"
    if isinstance(error, OSError) and error.errno in files.FULL:
        return "disk_full"
    return "crashed"


def _is_shared_memory(error: OSError | RuntimeError) -> bool:
    if isinstance(error, OSError) and error.errno in files.FULL:
        return str(error.filename or "").startswith(SHARED)
    text = str(error).lower()
    return "shared memory" in text or "bus error" in text or "<torch_" in text.replace("</", "<")
