import errno

import pytest
import torch

from harness.errors import ConfigError, DataError
from harness.execution.causes import sort_failure
from harness.execution.local import SPOILT
from harness.training.errors import DivergedError, TooLargeError

CASES = [
    (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
    (TooLargeError("not even one image"), "out_of_memory"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"), "out_of_memory"),
    (MemoryError(), "host_out_of_memory"),
    (RuntimeError("[enforce fail at] DefaultCPUAllocator: can't allocate"), "host_out_of_memory"),
    (RuntimeError("unable to open shared memory object </torch_1_2>"), "shared_memory"),
    (RuntimeError("DataLoader worker is killed by signal: Bus error."), "shared_memory"),
    (OSError(errno.ENOSPC, "No space left on device", "/dev/shm/torch_1"), "shared_memory"),
    (OSError(errno.ENOSPC, "No space left on device", "/w/checkpoint"), "disk_full"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
    (DivergedError("the training loss is nan"), "diverged"),
    (DataError("no image"), "bad_data"),
    (ConfigError("no such key"), "bad_configuration"),
    (PermissionError(errno.EACCES, "Permission denied"), "crashed"),
    (ZeroDivisionError("division by zero"), "crashed"),
]


@pytest.mark.parametrize(("error", "cause"), CASES, ids=lambda case: str(case)[:40])
def test_failure_is_sorted(error: Exception, cause: str) -> None:
    assert sort_failure(error).cause == cause


def test_failure_says_what_was_raised_and_where() -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        failure = sort_failure(error)
    assert failure.message == "ZeroDivisionError: division by zero"
    assert failure.traceback is not None and "1 / 0" in failure.traceback


def test_bad_settings_and_data_do_not_cost_a_process() -> None:
    assert not {"diverged", "bad_data", "bad_configuration", "disk_full"} & set(SPOILT)
