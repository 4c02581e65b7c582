"""Why a trial failed, in one word: what its worker raised, sorted.

The other causes need somebody outside: `harness.search.run.failures` sorts workers that vanished or
fell silent.
"""

import errno
import traceback
from pathlib import Path

import cv2

from harness.core import files
from harness.core.errors import DataError, UserError
from harness.core.records import TrialFailure
from harness.training.loop.errors import DivergedError, is_out_of_memory

_MAX_TRACEBACK_CHARS = 8000  # characters of a traceback
# Of torch's allocator, of a file that it maps, of C++ libraries, of OpenCV, of Intel's GPU runtime.
_HOST_MEMORY_MESSAGES = (
    "DefaultCPUAllocator",
    "Cannot allocate memory",
    "std::bad_alloc",
    "Insufficient memory",
    "ERROR_OUT_OF_HOST_MEMORY",
)
SHARED_MEMORY_DIR = "/dev/shm"  # noqa: S108  # where Linux keeps shared memory


def classify_failure(error: BaseException) -> TrialFailure:
    """The cause of a failure, with its message and traceback."""
    text = "".join(traceback.format_exception(error))
    return TrialFailure(
        cause=classify_cause(error),
        message=f"{type(error).__name__}: {error}",
        traceback=text[-_MAX_TRACEBACK_CHARS:],
    )


def find_full_folder(error: BaseException) -> Path | None:
    """The folder whose disk is full, where an exception tells of one."""
    failed_path = files.find_disk_error(error)
    return None if failed_path is None else files.nearest_existing_folder(failed_path)


def classify_cause(error: BaseException) -> str:
    """The cause in one word; see `harness.core.records.Failure`.

    What an error was raised from counts, too: libraries wrap those of the system, and an image that
    cannot be read for a moment is no bad image.
    """
    if is_out_of_memory(error):
        return "out_of_memory"
    if any(_is_shared_memory_exhausted(cause) for cause in files.iter_causes(error)):
        return "shared_memory"
    if any(_is_host_out_of_memory(cause) for cause in files.iter_causes(error)):
        return "host_out_of_memory"
    if files.find_disk_error(error) is not None:
        return "disk_full"
    if files.find_disk_error(error, files.TRANSIENT_ERRNOS) is not None:
        return "crashed"
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, DataError):
        return "bad_data"
    if isinstance(error, UserError):
        return "bad_configuration"
    return "crashed"


def _is_host_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError | cv2.error) and any(
        message in str(error) for message in _HOST_MEMORY_MESSAGES
    )


def _is_shared_memory_exhausted(error: BaseException) -> bool:
    if not isinstance(error, OSError | RuntimeError):
        return False
    if isinstance(error, OSError) and error.errno in files.DISK_FULL_ERRNOS:
        return str(error.filename or "").startswith(SHARED_MEMORY_DIR)
    text = str(error).lower()
    return "shared memory" in text or "bus error" in text or "<torch_" in text.replace("</", "<")
