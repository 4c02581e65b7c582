"""How much of a batch the device's memory holds at once; less after each time it ran out."""

import ctypes
import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from harness.training.loop.errors import TooLargeError, is_out_of_memory

T = TypeVar("T")


def release_memory() -> None:
    """Give back all memory that is not in use, of a trial before or of a failed attempt.

    First what only reference cycles keep alive (networks of the user and of libraries may hold
    some), then the blocks that torch keeps for later, and the pages that the C library keeps.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim is not None:
        trim(0)
    if torch.cuda.is_available():  # does nothing, and makes no context, where none is there yet
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def retry_on_oom(action: Callable[[], T]) -> T:
    """Do something once more, after `release_memory`, if the device's memory ran out.

    Args:
        action: may be repeated: what it did before it failed has no effect.
    """
    try:
        return action()
    except Exception as error:
        if not is_out_of_memory(error) or isinstance(error, TooLargeError):
            raise
    # Only here, where the error and the tensors in its frames are gone.
    release_memory()
    return action()


class MicroBatcher:
    """The number of images that go through the network together.

    Args:
        batch_size: images per batch.
        micro_batch_size: what an earlier attempt at the same trial came down to; None: whole
            batches.
        on_reduce: told each new number.

    Attributes:
        micro_batch_size: images at once, from `batch_size` down to 1.
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
        """What `attempt` gives, called with fewer images at once until they fit into memory.

        The first time that memory runs out the same number is tried once more, after
        `release_memory`: fewer images change what BatchNorm computes, leftovers must not.

        Args:
            undo: called after each attempt that ran out of memory: takes back what it changed.

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
            # Only here, where the error and the tensors in its frames are gone.
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
