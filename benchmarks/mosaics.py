"""Mosaics of microscopy images: large images whose objects keep their own size.

Images of a folder with `images/` and `masks/` are laid out side by side, turned and mirrored, until
a square is full. Images of training mosaics are in no validation mosaic.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def write_mosaics(source: Path, target: Path, *, side: int, train: int, val: int) -> None:
    """Write mosaics of `side` pixels, with `train.txt` and `val.txt` in `splits/`.

    A third of the images, every third in the order of their names, are those of validation.
    """
    names = sorted(path.stem for path in (source / "images").glob("*.png"))
    for folder in ("images", "masks", "splits"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for role, count in (("train", train), ("val", val)):
        own = [name for k, name in enumerate(names) if (k % 3 == 2) == (role == "val")]
        for k in range(count):
            image, mask = mosaic(read_pairs(source, own, seed=k), side)
            cv2.imwrite(str(target / "images" / f"{role}{k}.png"), image)
            cv2.imwrite(str(target / "masks" / f"{role}{k}.png"), mask)
        listed = "".join(f"{role}{k}\n" for k in range(count))
        (target / "splits" / f"{role}.txt").write_text(listed)


def read_pairs(source: Path, names: Sequence[str], seed: int) -> Iterator[Pair]:
    """Yield images (h, w, 3) and masks (h, w), again and again, each time turned otherwise."""
    random = np.random.default_rng(seed)
    while True:
        for index in random.permutation(len(names)):
            image, mask = (
                cv2.imread(str(source / folder / f"{names[index]}.png"), flags)
                for folder, flags in (("images", cv2.IMREAD_COLOR), ("masks", cv2.IMREAD_GRAYSCALE))
            )
            turns, mirrored = int(random.integers(4)), bool(random.integers(2))
            yield _turn(image, turns, mirrored), _turn(mask, turns, mirrored)


def _turn(array: Any, turns: int, mirrored: bool) -> NDArray[np.uint8]:
    turned = np.rot90(array, turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)


def mosaic(pairs: Iterator[Pair], side: int) -> Pair:
    """Lay pairs out in rows, each cut off at the height of its first and at the border."""
    image, mask = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.uint8)
    top = 0
    while top < side:
        left, height = 0, 0
        while left < side:
            part, of_part = next(pairs)
            height = height or min(part.shape[0], side - top)
            part, of_part = part[:height, : side - left], of_part[:height, : side - left]
            rows, columns = part.shape[:2]
            image[top : top + rows, left : left + columns] = part
            mask[top : top + rows, left : left + columns] = of_part
            left += columns
        top += height
    return image, mask
