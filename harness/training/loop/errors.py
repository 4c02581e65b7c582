"""Exceptions of a training, and the recognition of exhausted GPU memory."""

import re

import torch

from harness.core import files
from harness.core.errors import HarnessError

# Only torch's caching allocator raises OutOfMemoryError. Contexts, events, pinned memory and the
# libraries allocate memory of their own, and report its lack with their own texts, as RuntimeError.
_OUT_OF_MEMORY_MESSAGES = re.compile(
    r"(CUDA|HIP|XPU|MPS|Metal|Triton Error)\b[^\n]{0,40}\bout of memory"
    r"|CUDA_ERROR_OUT_OF_MEMORY|(cuda|hip)Error(Memory|Out)(Allocation|OfMemory)"
    r"|failed to allocate pinned"
    # cuDNN 9 has two texts for what was CUDNN_STATUS_ALLOC_FAILED. A handle of cuDNN or cuBLAS that
    # cannot be created is the usual sign of a full GPU.
    r"|CUDNN_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)"
    r"|CUDNN_STATUS_INTERNAL_ERROR_(DEVICE|HOST)_ALLOCATION_FAILED"
    # With cudnn.benchmark torch drops every plan that does not fit, and then has none.
    r"|unable to find an engine to execute this computation"
    r"|Unable to find a valid cuDNN algorithm"
    r"|CUBLAS_STATUS_NOT_INITIALIZED[^\n]{0,40}cublas\w*Create"
    r"|(CUBLAS|HIPBLAS|CUSOLVER|CUSPARSE)_STATUS_ALLOC_FAILED|CUFFT_ALLOC_FAILED"
    r"|rocblas_status_memory_error|miopenStatusAllocFailed"
    r"|Failed to allocate \w* ?MTLBuffer|kIOGPUCommandBufferCallbackErrorOutOfMemory"
    r"|(UR_RESULT|ZE_RESULT|PI)_ERROR_OUT_OF_(DEVICE_MEMORY|RESOURCES)",
    re.IGNORECASE,
)


class TrainingInterruptedError(HarnessError):
    """The training was requested to stop; it can be continued from the step that it reached."""


class DivergedError(HarnessError):
    """The loss or the weights are no longer finite numbers."""


class TooLargeError(HarnessError):
    """The device's memory does not hold the training of the smallest part of a batch."""


class StaleAttemptError(HarnessError):
    """Another attempt at this trial has begun; this one must not write any more."""


def is_out_of_memory(error: BaseException) -> bool:
    """True if the memory of a GPU, not of the host, is exhausted, according to an error or a cause.

    A user-defined loss or network may raise another exception while it handles that one.
    """
    return any(_is_out_of_memory_error(cause) for cause in files.iter_causes(error))


def _is_out_of_memory_error(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | TooLargeError):
        return True
    return (
        isinstance(error, RuntimeError) and _OUT_OF_MEMORY_MESSAGES.search(str(error)) is not None
    )
