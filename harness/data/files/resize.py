"""How images and masks change size, for the cache, the metrics and the report alike."""

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Array8 = NDArray[np.uint8]
Picture = NDArray[Any]  # uint8 or uint16
Size = tuple[int, int]
Box = tuple[int, int, int, int]
Fit = Literal["stretch", "pad"]


def resize_image(image: Picture, size: Size) -> Picture:
    """An image (H, W, C) or (H, W) at `size` = (height, width): INTER_AREA down, INTER_LINEAR up.

    Down means: to fewer pixels in all.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    down = height * width < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if down else cv2.INTER_LINEAR
    return _resize_channels(image, size, interpolation)


def resize_mask(mask: Array8, size: Size, *, nearest: bool = False) -> Array8:
    """A mask (H, W), or one plane for each class (H, W, K), at `size`.

    Args:
        nearest: for values that are indices or void. Otherwise they are 0 and 1, and a pixel is 1
            where at least half of it is (INTER_AREA).
    """
    height, width = size
    if mask.shape[:2] == (height, width):
        return mask
    if nearest:
        return _resize_channels(mask, size, cv2.INTER_NEAREST_EXACT)
    return (_resize_channels(mask.astype(np.float32), size, cv2.INTER_AREA) >= 0.5).astype(np.uint8)


def resize_truth(mask: Array8, eval_size: int, *, nearest: bool = False) -> Array8:
    """The truth (eval_size, eval_size) that metrics compare with: the whole image."""
    return resize_mask(mask, (eval_size, eval_size), nearest=nearest)


def content_box(shape: Size, size: Size, fit: Fit) -> Box:
    """Where an image of `shape` lies inside `size`: (top, left, height, width).

    `stretch` fills it all; `pad` keeps the aspect ratio and leaves the bottom or right empty.
    """
    height, width = size
    if fit == "stretch":
        return 0, 0, height, width
    scale = min(height / shape[0], width / shape[1])
    return 0, 0, max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def content_masks(boxes: NDArray[np.int64], size: Size) -> NDArray[np.bool_] | None:
    """Where padded images have content, (N, height, width); None where all of it is.

    Args:
        boxes: (N, 4), as `content_box` gives them.
        size: (height, width) of the padded images.
    """
    if (boxes == [0, 0, *size]).all():
        return None
    y0, x0, height, width = (boxes[:, k, None] for k in range(4))
    y, x = np.arange(size[0]), np.arange(size[1])
    rows, columns = (y0 <= y) & (y < y0 + height), (x0 <= x) & (x < x0 + width)
    return np.asarray(rows[:, :, None] & columns[:, None, :])


def fit_image(image: Picture, size: Size, fit: Fit) -> Picture:
    """An image (H, W, C) brought to `size`; padding is 0."""
    _, _, height, width = content_box((image.shape[0], image.shape[1]), size, fit)
    return _pad_to(resize_image(image, (height, width)), size, 0)


def fit_mask(
    mask: Array8, size: Size, fit: Fit, *, nearest: bool = False, padding: int = 0
) -> Array8:
    """A mask brought to `size`, padded with the value `padding`."""
    _, _, height, width = content_box((mask.shape[0], mask.shape[1]), size, fit)
    return np.asarray(_pad_to(resize_mask(mask, (height, width), nearest=nearest), size, padding))


def _resize_channels(picture: Picture, size: Size, interpolation: int) -> Picture:
    """OpenCV's resize for any number of channels: it takes four at once."""
    flat = picture.reshape(*picture.shape[:2], -1)
    parts = [
        cv2.resize(
            np.ascontiguousarray(flat[..., k : k + 4]), size[::-1], interpolation=interpolation
        )
        for k in range(0, flat.shape[2], 4)
    ]
    joined = np.dstack(parts) if len(parts) > 1 else parts[0]
    return np.asarray(joined, picture.dtype).reshape(*size, *picture.shape[2:])


def _pad_to(picture: Picture, size: Size, value: int) -> Picture:
    if picture.shape[:2] == size:
        return picture
    canvas = np.full((*size, *picture.shape[2:]), value, picture.dtype)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    return canvas
