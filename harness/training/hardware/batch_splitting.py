"""Micro-batches: fewer images per pass after each time the device's memory ran out."""

import ctypes
import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from harness.training.loop.errors import TooLargeError, is_out_of_memory

T = TypeVar("T")


def release_memory() -> None:
    """Return all unused memory to the system, after a trial or a failed attempt.

    First objects that only reference cycles keep alive (networks of users and libraries may have
    some), then the blocks that torch caches, and the pages that the C library keeps.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)
    if torch.cuda.is_available():  # creates no CUDA context
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def retry_on_oom(action: Callable[[], T]) -> T:
    """Run an action, and once more after `release_memory` if the device's memory ran out.

    Args:
        action: must be repeatable: a failed call has no effect.
    """
    try:
        return action()
    except Exception as error:
        if not is_out_of_memory(error) or isinstance(error, TooLargeError):
            raise
    # Not inside the except clause: there the error still holds its frames, and these hold the
    # tensors whose memory is needed.
    release_memory()
    return action()


class MicroBatcher:
    """Finds the number of images that go through the network together.

    Args:
        batch_size: images per batch.
        micro_batch_size: the number that an earlier attempt at the same trial came down to; None:
            whole batches.
        on_reduce: receives each new number.

    Attributes:
        micro_batch_size: images per pass, from `batch_size` down to 1.
    """

    def __init__(
        self,
        batch_size: int,
        micro_batch_size: int | None = None,
        on_reduce: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.micro_batch_size = min(batch_size, micro_batch_size or batch_size)
        self._on_reduce = on_reduce

    def run(self, attempt: Callable[[int], T], undo: Callable[[], None] = lambda: None) -> T:
        """Call `attempt` with fewer and fewer images per pass until they fit into memory.

        The first time that memory runs out, the same number is tried once more after
        `release_memory`: fewer images change the statistics of BatchNorm, and leftovers of an
        earlier trial must not decide about that.

        Args:
            undo: called after each attempt that ran out of memory, to revert its changes.

        Raises:
            TooLargeError: a single image does not fit.
        """
        released = False
        while True:
            try:
                return attempt(self.micro_batch_size)
            except Exception as error:
                if not is_out_of_memory(error) or isinstance(error, TooLargeError):
                    raise
                oom_message = str(error)
            # Not inside the except clause, see `retry_on_oom`.
            undo()
            release_memory()
            if released:
                self._halve(oom_message)
            released = True

    def _halve(self, oom_message: str) -> None:
        if self.micro_batch_size == 1:
            raise TooLargeError(f"not even one image fits into memory: {oom_message}")
        self.micro_batch_size = (self.micro_batch_size + 1) // 2
        self._on_reduce(self.micro_batch_size)
