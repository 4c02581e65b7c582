"""Logits of an image of any size by windows, with Gaussian weights where windows overlap."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from numpy.typing import NDArray
from torch import Tensor

from harness.data.files.resize import Box
from harness.data.windows.grid import NO_FLIP, Flip, WindowGrid
from harness.data.windows.tiles import ImageWindows, TileGeometry
from harness.data.windows.window import Window

# Logits (N, K, h, w) of inputs (N, h, w, C), given the boxes (N, 4) of their content.
Forward = Callable[[NDArray[Any], NDArray[np.int64]], Tensor]
Band = tuple[int, Tensor]  # first pixel row; logits (1, K, rows, W)


def iterate_logits(
    source: ImageWindows,
    row: int,
    geometry: TileGeometry,
    forward: Forward,
    batch_size: int,
    flip: Flip = NO_FLIP,
) -> Iterator[Band]:
    """Yield the logits of image `row` at its own size, in bands from top to bottom.

    The logits of each window are resized bilinearly to the window's own size (align_corners=False)
    and averaged with the weights of `harness.data.windows.grid`. At most one row of windows is in
    memory. An image that fits into one window is one band, computed as without windows.

    The result does not depend on `batch_size`, except for the rounding of the network itself.

    Args:
        forward: the network with its normalisation; returns fp32.
        batch_size: windows per pass.
        flip: flip the image first and its logits back, by window. Sums over more than two windows
            have another order than those of a flipped image: the last bit can differ.
    """
    shape = source.shape(row)
    grid = geometry.grid(shape, flip)
    buffer: Tensor | None = None  # rows from the top of the present row of windows
    for n_row, top in enumerate(grid.tops):
        row_logits = _row_logits(source, row, geometry, grid, n_row, forward, batch_size)
        for n_column, logits in row_logits:
            if geometry.fits(shape):
                yield 0, logits
                return
            height, width = logits.shape[-2:]
            if buffer is None:
                buffer = logits.new_zeros((1, logits.shape[1], height, grid.width))
            weights = grid.row_weights[n_row][:, None] * grid.column_weights[n_column]
            left = grid.lefts[n_column]
            target = buffer[..., left : left + width]
            target += logits * torch.from_numpy(weights).to(logits.device)
        assert buffer is not None
        n_done = (grid.tops[n_row + 1] if n_row + 1 < len(grid.tops) else grid.height) - top
        yield top, buffer[:, :, :n_done].clone()
        buffer = torch.cat([buffer[:, :, n_done:], torch.zeros_like(buffer[:, :, :n_done])], dim=2)


def _row_logits(
    source: ImageWindows,
    row: int,
    geometry: TileGeometry,
    grid: WindowGrid,
    n_row: int,
    forward: Forward,
    batch_size: int,
) -> Iterator[tuple[int, Tensor]]:
    """Yield the logits (1, K, h, w) of each window of a row of windows, at its own size."""
    windows = [grid.window(n_row, n_column) for n_column in range(len(grid.lefts))]
    for start in range(0, len(windows), batch_size):
        batch = windows[start : start + batch_size]
        inputs = [geometry.read_image(source, row, window, grid.flip) for window in batch]
        boxes = np.array([box for _, box in inputs], np.int64)
        logits = forward(np.stack([image for image, _ in inputs]), boxes)
        for n, (window, (_, box)) in enumerate(zip(batch, inputs, strict=True)):
            yield start + n, flip_planes(resize_content(logits[n : n + 1], box, window), grid.flip)


def flip_planes(planes: Tensor, flip: Flip) -> Tensor:
    """Flip planes (..., H, W)."""
    axes = [axis for axis, is_flipped in zip((-2, -1), flip, strict=True) if is_flipped]
    return planes.flip(axes) if axes else planes


def resize_content(logits: Tensor, box: Box, window: Window) -> Tensor:
    """Cut padding off the logits (1, K, h, w) of a window and resize them to its own size."""
    top, left, height, width = box
    content = logits[:, :, top : top + height, left : left + width]
    if (height, width) == (window.height, window.width):
        return content
    return F.interpolate(
        content, size=(window.height, window.width), mode="bilinear", align_corners=False
    )
