"""Window of a large image in which a prediction has the most wrong pixels, at full resolution."""

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.core.text import count
from harness.data.files.resize import Array8, Size
from harness.data.windows.window import Window
from harness.report.predictions.panels import draw_labels, draw_prediction_overlay

# Longest side of an image, px, that its overview of 384 px shows well enough.
MAX_OVERVIEW_SIDE: Final = 768
DEFAULT_SIDE: Final = 256
_SIDES: Final = (64, 512)  # bounds of the pictures' bytes


@dataclass(frozen=True, eq=False)
class WindowDetail:
    """Pictures of one window at native size; prediction as in `TrialPrediction`.

    Attributes:
        text: position and number of wrong pixels.
    """

    text: str
    aspect: float
    image: Array8
    truth: Array8
    mask: Array8
    overlay: Array8


def window_side(settings: dict[str, Any]) -> int:
    """Side of the windows: that of a trial's tiles, within bounds, else DEFAULT_SIDE."""
    side = settings.get("data.tile.size")
    return DEFAULT_SIDE if not isinstance(side, int) else min(max(side, _SIDES[0]), _SIDES[1])


def find_worst_window(truth: Array8, decision: Array8, size: Size, side: int) -> Window | None:
    """Window of an image of `size` with the most wrong pixels; None if the image is small or right.

    Args:
        truth: mask at eval_size, with IGNORE_INDEX.
        decision: prediction, likewise.
        side: of the window, px of the image.
    """
    if max(size) <= MAX_OVERVIEW_SIDE:
        return None
    wrong = (truth != decision) & (truth != IGNORE_INDEX)
    wrong = wrong.any(axis=2) if wrong.ndim == 3 else wrong
    if not wrong.any():
        return None
    height, width = (min(side, length) for length in size)
    rows, columns = (
        max(1, round(part * n / length))
        for part, n, length in zip((height, width), wrong.shape, size, strict=True)
    )
    sums = cv2.integral(wrong.astype(np.uint8))
    boxes = (
        sums[rows:, columns:]
        - sums[:-rows, columns:]
        - sums[rows:, :-columns]
        + sums[:-rows, :-columns]
    )
    y, x = np.unravel_index(int(boxes.argmax()), boxes.shape)
    top, left = (
        min(max(round((start + extent / 2) * total / n - length / 2), 0), total - length)
        for start, extent, length, n, total in (
            (int(y), rows, height, wrong.shape[0], size[0]),
            (int(x), columns, width, wrong.shape[1], size[1]),
        )
    )
    return Window(top, left, height, width)


def draw_window(
    window: Window,
    image: Array8,
    truth: Array8,
    decision: Array8,
    size: Size,
    data: StudyDataConfig,
) -> WindowDetail:
    """Draw a window.

    Args:
        image: RGB (h, w, 3) of the window.
        truth: mask of the window at native size.
        decision: prediction of the complete image at eval_size, whose pixels are enlarged.
        size: height and width of the complete image.
    """
    rows, columns = (
        (start + np.arange(length)) * n // total
        for start, length, n, total in (
            (window.top, window.height, decision.shape[0], size[0]),
            (window.left, window.width, decision.shape[1], size[1]),
        )
    )
    part: NDArray[np.uint8] = np.ascontiguousarray(decision[rows][:, columns])
    wrong = (truth != part) & (truth != IGNORE_INDEX)
    n_wrong = int((wrong.any(axis=2) if wrong.ndim == 3 else wrong).sum())
    text = (
        f"worst window at full resolution: {window.width} × {window.height} px from "
        f"({window.left}, {window.top}) of {size[1]} × {size[0]}, {count(n_wrong, 'wrong pixel')}"
    )
    return WindowDetail(
        text=text,
        aspect=window.width / window.height,
        image=np.ascontiguousarray(image),
        truth=draw_labels(truth, data),
        mask=draw_labels(part, data),
        overlay=draw_prediction_overlay(image, truth, part, data),
    )
