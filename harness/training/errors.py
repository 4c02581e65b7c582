"""What can go wrong while a network trains."""

import torch

from harness.errors import HarnessError

# cuBLAS and cuDNN reserve memory of their own, and tell of its lack in their own words.
_WORDS = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "MPS backend out of memory")


class HaltedError(HarnessError):
    """Training was asked to stop; it can be continued from the step it came to."""


class DivergedError(HarnessError):
    """The loss or the weights are no longer finite numbers; going on is a waste."""


class TooLargeError(HarnessError):
    """The device's memory does not hold the training of the smallest part of a batch."""


class StaleAttemptError(HarnessError):
    """Another attempt at this trial has begun; this one must write no more."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of a GPU, not of the host, has run out."""
    if isinstance(error, torch.OutOfMemoryError | TooLargeError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)
