"""How much of a batch the device's memory holds at once; less after each time it ran out."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from harness.training.errors import TooLargeError, is_out_of_memory

T = TypeVar("T")


class Memory:
    """The number of images that go through the network together.

    Args:
        batch_size: images per batch.
        at_once: what an earlier attempt at the same trial came down to; None: whole batches.
        on_less: told each new number.

    Attributes:
        at_once: images at once, from `batch_size` down to 1.
    """

    def __init__(
        self,
        batch_size: int,
        at_once: int | None = None,
        on_less: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.at_once = min(batch_size, at_once or batch_size)
        self._on_less = on_less

    def fit(self, attempt: Callable[[int], T]) -> T:
        """What `attempt` gives, called with fewer images at once until they fit into memory.

        Raises:
            TooLargeError: a single image does not fit.
        """
        while True:
            try:
                return attempt(self.at_once)
            except Exception as error:
                if not is_out_of_memory(error) or isinstance(error, TooLargeError):
                    raise
                if self.at_once == 1:
                    raise TooLargeError(f"not even one image fits into memory: {error}") from None
            # Only here, where the error and the tensors in its frames are gone.
            self._halve()

    def _halve(self) -> None:
        self.at_once = (self.at_once + 1) // 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._on_less(self.at_once)
