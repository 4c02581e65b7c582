import errno
from pathlib import Path

import cv2
import pytest
import torch

from harness.core.errors import ConfigError, DataError
from harness.execution.local_executor import TAINTING_CAUSES
from harness.training.loop.errors import DivergedError, TooLargeError
from harness.training.worker.failure_causes import classify_failure, find_full_folder


def caused(error: Exception, cause: Exception) -> Exception:
    """An error as it is raised where another one is handled; "from None" hides that in print."""
    try:
        try:
            raise cause
        except Exception:
            raise error from None
    except Exception as raised:
        return raised


CASES = [
    (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
    (TooLargeError("not even one image"), "out_of_memory"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"), "out_of_memory"),
    *(
        (RuntimeError(text), "out_of_memory")
        for text in (
            # contexts, events, pinned memory: the driver, outside of the caching allocator
            "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
            "CUDA driver error: out of memory",
            "CUDA ran out of memory outside PyTorch's allocator",
            "HIP error: out of memory",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",  # cuDNN 8
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",  # cuDNN 9
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
            "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
            "FIND was unable to find an engine to execute this computation",  # with benchmark
            "Unable to find a valid cuDNN algorithm to run convolution",
            "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
            "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasLtCreate(&handle)`",
            "cuFFT error: CUFFT_ALLOC_FAILED",
            "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED",
            "Triton Error [CUDA]: out of memory",
            "MPS backend out of memory (MPS allocated: 9.00 GB)",
            "Failed to allocate private MTLBuffer for size 4294967296",
            "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
            "XPU out of memory. Tried to allocate 2.00 GiB",
            "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
        )
    ),
    (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling x"), "crashed"),
    (RuntimeError("CUDA error: an illegal memory access was encountered"), "crashed"),
    (RuntimeError("the index is out of memory order"), "crashed"),
    (MemoryError(), "host_out_of_memory"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "host_out_of_memory"),
    (
        RuntimeError("unable to mmap 9 bytes from file <w>: Cannot allocate memory (12)"),
        "host_out_of_memory",
    ),
    (cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes"), "host_out_of_memory"),
    (RuntimeError("UR_RESULT_ERROR_OUT_OF_HOST_MEMORY"), "host_out_of_memory"),
    (RuntimeError("[enforce fail at] DefaultCPUAllocator: can't allocate"), "host_out_of_memory"),
    (RuntimeError("unable to open shared memory object </torch_1_2>"), "shared_memory"),
    (RuntimeError("DataLoader worker is killed by signal: Bus error."), "shared_memory"),
    (OSError(errno.ENOSPC, "No space left on device", "/dev/shm/torch_1"), "shared_memory"),
    (OSError(errno.ENOSPC, "No space left on device", "/w/checkpoint"), "disk_full"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
    (DivergedError("the training loss is nan"), "diverged"),
    (DataError("no image"), "bad_data"),
    (ConfigError("no such key"), "bad_configuration"),
    (caused(DataError("need 9 MB"), OSError(errno.ENOSPC, "No space left", "/c")), "disk_full"),
    (caused(RuntimeError("library"), OSError(errno.EDQUOT, "Disk quota")), "disk_full"),
    (caused(DataError("cannot be read"), OSError(errno.EIO, "Input/output")), "crashed"),
    (caused(ConfigError("cannot be read"), OSError(errno.ESTALE, "Stale file")), "crashed"),
    (caused(DataError("no such file"), FileNotFoundError(errno.ENOENT, "No such")), "bad_data"),
    (caused(DataError("cannot be decoded"), MemoryError()), "host_out_of_memory"),
    (
        caused(ConfigError("my loss"), cv2.error("(-4:Insufficient memory) Failed")),
        "host_out_of_memory",
    ),
    (caused(ValueError("library"), RuntimeError("shared memory </torch_1>")), "shared_memory"),
    (caused(ValueError("my loss"), torch.OutOfMemoryError("CUDA out")), "out_of_memory"),
    (caused(ConfigError("my loss"), RuntimeError("CUDA error: out of memory")), "out_of_memory"),
    (PermissionError(errno.EACCES, "Permission denied"), "crashed"),
    (ZeroDivisionError("division by zero"), "crashed"),
]


@pytest.mark.parametrize(("error", "cause"), CASES, ids=lambda case: str(case)[:40])
def test_failure_is_sorted(error: Exception, cause: str) -> None:
    assert classify_failure(error).cause == cause


def test_cause_of_an_error_counts() -> None:
    """As where a compiler, or a part of the user's, raises an error of its own."""
    error = ValueError("compiling failed")
    error.__cause__ = torch.OutOfMemoryError("CUDA out of memory")
    assert classify_failure(error).cause == "out_of_memory"


def test_failure_says_what_was_raised_and_where() -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        failure = classify_failure(error)
    assert failure.message == "ZeroDivisionError: division by zero"
    assert failure.traceback is not None and "1 / 0" in failure.traceback


def test_folder_that_is_full_is_told(tmp_path: Path) -> None:
    file = tmp_path / "gone" / "images.npy"
    full = caused(DataError("no room"), OSError(errno.ENOSPC, "No space left", str(file)))
    assert find_full_folder(full) == tmp_path
    assert find_full_folder(OSError(errno.ENOSPC, "No space left")) is None
    assert find_full_folder(OSError(errno.EIO, "Input/output error", str(file))) is None


def test_bad_settings_and_data_do_not_cost_a_process() -> None:
    assert not {"diverged", "bad_data", "bad_configuration", "disk_full"} & set(TAINTING_CAUSES)
