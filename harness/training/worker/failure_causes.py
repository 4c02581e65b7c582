"""Cause of a failed trial, in one word, from the exception that its worker raised.

Apart from the worker, since these rules are tested against real errors of torch, OpenCV and the
system. The causes of workers that died or hang are found by the controller
(`harness.search.run.failures`).
"""

import errno
import traceback
from pathlib import Path

import cv2

from harness.core import files
from harness.core.errors import DataError, UserError
from harness.core.records import TrialFailure
from harness.training.loop.errors import DivergedError, is_out_of_memory

_MAX_TRACEBACK_CHARS = 8000
# From torch's allocator, a file that torch maps, C++ libraries, OpenCV, Intel's GPU runtime.
_HOST_MEMORY_MESSAGES = (
    "DefaultCPUAllocator",
    "Cannot allocate memory",
    "std::bad_alloc",
    "Insufficient memory",
    "ERROR_OUT_OF_HOST_MEMORY",
)
SHARED_MEMORY_DIR = "/dev/shm"  # noqa: S108  # where Linux keeps shared memory


def classify_failure(error: BaseException) -> TrialFailure:
    """Classify an exception: its cause, with message and traceback."""
    text = "".join(traceback.format_exception(error))
    return TrialFailure(
        cause=classify_cause(error),
        message=f"{type(error).__name__}: {error}",
        # The end of a traceback names the line that failed; the beginning is the worker's own loop.
        traceback=text[-_MAX_TRACEBACK_CHARS:],
    )


def find_full_folder(error: BaseException) -> Path | None:
    """The folder whose disk is full according to an exception; None if it is about no disk."""
    failed_path = files.find_disk_error(error)
    return None if failed_path is None else files.nearest_existing_folder(failed_path)


def classify_cause(error: BaseException) -> str:
    """The cause in one word; see `harness.core.records.TrialFailure`.

    The causes of an exception count too: libraries wrap errors of the system, and an image that
    cannot be read for a moment is not a bad image. The order matters: an exception that was raised
    while memory was exhausted may be of any type, so memory is checked first.
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
        # /dev/shm is a file system of its own, so a full one is reported with the errno of a full
        # disk.
        return str(error.filename or "").startswith(SHARED_MEMORY_DIR)
    text = str(error).lower()
    return "shared memory" in text or "bus error" in text or "<torch_" in text.replace("</", "<")
