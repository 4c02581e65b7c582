"""Why a trial failed, in one word: what its worker raised, sorted.

The other causes need somebody outside: `harness.search.failures` sorts workers that vanished or
fell silent.
"""

import errno
import traceback
from pathlib import Path

import cv2

from harness import files
from harness.errors import DataError, UserError
from harness.records import Failure
from harness.training.errors import DivergedError, is_out_of_memory

_LONGEST = 8000  # characters of a traceback
# Of torch's allocator, of a file that it maps, of C++ libraries, of OpenCV, of Intel's GPU runtime.
_HOST_WORDS = (
    "DefaultCPUAllocator",
    "Cannot allocate memory",
    "std::bad_alloc",
    "Insufficient memory",
    "ERROR_OUT_OF_HOST_MEMORY",
)
SHARED = "/dev/shm"  # noqa: S108  # where Linux keeps shared memory


def sort_failure(error: BaseException) -> Failure:
    """The cause of a failure, with its message and traceback."""
    text = "".join(traceback.format_exception(error))
    return Failure(
        cause=cause_of(error),
        message=f"{type(error).__name__}: {error}",
        traceback=text[-_LONGEST:],
    )


def full_folder(error: BaseException) -> Path | None:
    """The folder whose disk is full, where an exception tells of one."""
    full = files.disk_error(error)
    return None if full is None else files.folder_of(full)


def cause_of(error: BaseException) -> str:
    """The cause in one word; see `harness.records.Failure`.

    What an error was raised from counts, too: libraries wrap those of the system, and an image that
    cannot be read for a moment is no bad image.
    """
    if is_out_of_memory(error):
        return "out_of_memory"
    if any(_is_shared_memory(one) for one in files.causes(error)):
        return "shared_memory"
    if any(_is_host_memory(one) for one in files.causes(error)):
        return "host_out_of_memory"
    if files.disk_error(error) is not None:
        return "disk_full"
    if files.disk_error(error, files.PASSING) is not None:
        return "crashed"
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, DataError):
        return "bad_data"
    if isinstance(error, UserError):
        return "bad_configuration"
    return "crashed"


def _is_host_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError | cv2.error) and any(
        words in str(error) for words in _HOST_WORDS
    )


def _is_shared_memory(error: BaseException) -> bool:
    if not isinstance(error, OSError | RuntimeError):
        return False
    if isinstance(error, OSError) and error.errno in files.FULL:
        return str(error.filename or "").startswith(SHARED)
    text = str(error).lower()
    return "shared memory" in text or "bus error" in text or "<torch_" in text.replace("</", "<")
