"""Read windows from the image files themselves, for images that are read once."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.config.data import StudyDataConfig
from harness.data.files.image_io import LoadedPair, read_pair
from harness.data.files.source import DataSource
from harness.data.splits.split_file import SplitRow
from harness.data.windows.large_pair import LargePair, open_large_pair
from harness.data.windows.window import Shape, Window, check_window


@dataclass(eq=False)
class FileWindows:
    """Window source of the files of rows, of any role; one pair is open at a time.

    A large TIFF is read by window, every other file is decoded when its row is read first. Windows
    of one row should follow each other; one thread reads. It is a context manager.
    """

    source: DataSource
    rows: Sequence[SplitRow]
    data: StudyDataConfig
    max_pixels: float
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _row: int | None = field(default=None, init=False)
    _pair: LargePair | LoadedPair | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the open pair."""
        self._close()

    def __len__(self) -> int:
        return len(self.rows)

    def shape(self, row: int) -> Shape:
        """Height, width and channels of image `row`. Raises DataError as `read_pair`."""
        pair = self._open(row)
        if isinstance(pair, LargePair):
            return pair.header.height, pair.header.width, self.data.channels
        height, width, channels = pair.image.shape
        return height, width, channels

    def read_image(self, row: int, window: Window) -> NDArray[Any]:
        """Window (h, w, C) of an image. Raises DataError as `read_pair`."""
        return self._read(
            row,
            window,
            lambda pair: pair.read_image(*window.slices),
            lambda pair: pair.image[window.slices],
        )

    def read_mask(self, row: int, window: Window) -> NDArray[np.uint8]:
        """Window (h, w) or (h, w, K) of a mask. Raises DataError as `read_pair`."""
        rows, columns = window.slices
        return self._read(
            row,
            window,
            lambda pair: pair.read_mask(rows)[:, columns],
            lambda pair: pair.mask[window.slices],
        )

    def _read(
        self,
        row: int,
        window: Window,
        read_large: Callable[[LargePair], NDArray[Any]],
        cut: Callable[[LoadedPair], NDArray[Any]],
    ) -> NDArray[Any]:
        check_window(window, self.shape(row))
        pair = self._open(row)
        return read_large(pair) if isinstance(pair, LargePair) else cut(pair).copy()

    def _open(self, row: int) -> LargePair | LoadedPair:
        if self._pair is None or row != self._row:
            self._close()
            split_row = self.rows[row]
            names = split_row.image, split_row.masks
            large = self._stack.enter_context(
                open_large_pair(self.source, *names, self.data, self.max_pixels)
            )
            if large is None:
                self._pair = read_pair(
                    self.source, *names, self.data, self.max_pixels, split_row.hashes
                )
            else:
                large.check(split_row.hashes)
                self._pair = large
            self._row = row
        return self._pair

    def _close(self) -> None:
        self._pair, self._row = None, None
        self._stack.close()
