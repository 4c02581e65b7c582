"""Polyp-like images to try things on."""

from pathlib import Path

import cv2
import numpy as np


def generate(folder: Path, *, count: int = 64, size: int = 160, seed: int = 0) -> Path:
    """Generate."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        image = rng.integers(90, 130, (size, size, 3)).astype(np.uint8)
        mask = np.zeros((size, size), np.uint8)
        c = rng.integers(size // 4, 3 * size // 4, 2)
        cv2.circle(mask, (int(c[0]), int(c[1])), int(rng.integers(8, size // 4)), 255, -1)
        image[mask > 0] += 40
        cv2.imwrite(str(folder / "images" / f"{i:04d}.jpg"), image)
        cv2.imwrite(str(folder / "masks" / f"{i:04d}.png"), mask)
    return folder
