"""Resize and pad images and masks; the cache, the metrics and the report use the same rules."""

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Array8 = NDArray[np.uint8]
Image = NDArray[Any]  # uint8 or uint16
Size = tuple[int, int]
Box = tuple[int, int, int, int]
Fit = Literal["stretch", "pad", "shrink"]


def resize_image(image: Image, size: Size) -> Image:
    """Resize an image (H, W, C) or (H, W) to `size` = (height, width).

    INTER_AREA if the number of pixels falls, otherwise INTER_LINEAR.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    down = height * width < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if down else cv2.INTER_LINEAR
    return resize_channels(image, size, interpolation)


def resize_mask(mask: Array8, size: Size, *, nearest: bool = False) -> Array8:
    """Resize a mask (H, W), or one plane for each class (H, W, K), to `size`.

    Args:
        nearest: True for class indices and void, which must not be mixed. Otherwise values are 0
            and 1, and a pixel becomes 1 if at least half of its area is 1 (INTER_AREA).
    """
    height, width = size
    if mask.shape[:2] == (height, width):
        return mask
    if nearest:
        # INTER_NEAREST takes the pixel left of the centre and shifts masks; EXACT does not.
        return resize_channels(mask, size, cv2.INTER_NEAREST_EXACT)
    return (resize_channels(mask.astype(np.float32), size, cv2.INTER_AREA) >= 0.5).astype(np.uint8)


def resize_truth(mask: Array8, eval_size: int, *, nearest: bool = False) -> Array8:
    """Resize a mask to (eval_size, eval_size), the truth of the metrics, of any aspect ratio."""
    return resize_mask(mask, (eval_size, eval_size), nearest=nearest)


def content_box(shape: Size, size: Size, fit: Fit) -> Box:
    """Box (top, left, height, width) of an image of `shape` inside `size`.

    `stretch` fills all of it; `pad` keeps the aspect ratio and leaves the bottom or right empty.
    `shrink` pads, too, but leaves images that fit at their own size.
    """
    height, width = size
    if fit == "stretch":
        return 0, 0, height, width
    scale = min(height / shape[0], width / shape[1])
    if fit == "shrink":
        scale = min(1.0, scale)
    # At least one pixel: a strip of 4000 x 3 px would otherwise vanish.
    return 0, 0, max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def content_masks(boxes: NDArray[np.int64], size: Size) -> NDArray[np.bool_] | None:
    """Masks (N, height, width) of the content of padded images; None if no image is padded.

    Args:
        boxes: (N, 4), from `content_box`.
        size: (height, width) of the padded images.
    """
    if (boxes == [0, 0, *size]).all():
        return None
    y0, x0, height, width = (boxes[:, k, None] for k in range(4))
    y, x = np.arange(size[0]), np.arange(size[1])
    rows, columns = (y0 <= y) & (y < y0 + height), (x0 <= x) & (x < x0 + width)
    return np.asarray(rows[:, :, None] & columns[:, None, :])


def fit_image(image: Image, size: Size, fit: Fit) -> Image:
    """Resize and pad an image (H, W, C) to `size`; padding is 0."""
    _, _, height, width = content_box((image.shape[0], image.shape[1]), size, fit)
    return pad_to(resize_image(image, (height, width)), size, 0)


def fit_mask(
    mask: Array8, size: Size, fit: Fit, *, nearest: bool = False, padding: int = 0
) -> Array8:
    """Resize a mask to `size` and pad it with the value `padding`."""
    _, _, height, width = content_box((mask.shape[0], mask.shape[1]), size, fit)
    return np.asarray(pad_to(resize_mask(mask, (height, width), nearest=nearest), size, padding))


def pad_to(image: Image, size: Size, value: int) -> Image:
    """Extend an image (H, W[, C]) to `size` at the bottom and the right."""
    if image.shape[:2] == size:
        return image
    canvas = np.full((*size, *image.shape[2:]), value, image.dtype)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def resize_channels(image: Image, size: Size, interpolation: int) -> Image:
    """Resize any number of channels, four per call: cv2.resize accepts no more."""
    flat = image.reshape(*image.shape[:2], -1)
    parts = [
        cv2.resize(
            np.ascontiguousarray(flat[..., k : k + 4]), size[::-1], interpolation=interpolation
        )
        for k in range(0, flat.shape[2], 4)
    ]
    joined = np.dstack(parts) if len(parts) > 1 else parts[0]
    return np.asarray(joined, image.dtype).reshape(*size, *image.shape[2:])
