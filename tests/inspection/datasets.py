"""A small dataset with one of everything that inspection knows."""

from pathlib import Path

import cv2
import numpy as np

from harness.config.data import StudyDataConfig
from harness.data.datasets.sources import open_dataset
from harness.data.scan.scan import DatasetScan, scan_dataset
from tests.data.make import encode, exif, folder, picture, save, square


def overview(root: Path, data: StudyDataConfig | None = None) -> DatasetScan:
    return scan_dataset(open_dataset(root, data or StudyDataConfig(), max_pixels=1e6))


def mixed(root: Path) -> Path:
    """000-002 plain, bad, bordered, copied, empty, noisy, rgba, turned."""
    folder(root, 3)
    for name in ("bad", "copied", "empty", "noisy", "rgba"):
        save(root / f"images/{name}.png", picture(hash_of(name)))
        save(root / f"masks/{name}.png", 255 * square())
    save(root / "images/bad.png", encode(".png", picture(1))[:100])
    save(root / "images/copied.png", picture(0))
    save(root / "masks/empty.png", np.zeros((24, 32), np.uint8))
    (root / "masks/noisy.png").unlink()
    save(root / "masks/noisy.jpg", encode(".jpg", 255 * square(), cv2.IMWRITE_JPEG_QUALITY, 60))
    save(root / "images/rgba.png", np.dstack([picture(77), np.full((24, 32), 255, np.uint8)]))
    bordered = np.zeros((40, 60, 3), np.uint8)
    bordered[6:-4, 10:-18] = 60 + picture(5, 30, 32) // 2
    mask = np.zeros((40, 60), np.uint8)
    mask[6:-4, 10:-18] = 255 * cv2.resize(square(), (32, 30), interpolation=cv2.INTER_NEAREST)
    save(root / "images/bordered.png", bordered)
    save(root / "masks/bordered.png", mask)
    jpeg = encode(".jpg", picture(9))
    save(root / "images/turned.jpg", jpeg[:2] + exif(6) + jpeg[2:])
    save(root / "masks/turned.png", 255 * square())
    return root


def hash_of(name: str) -> int:
    return sum(name.encode())
