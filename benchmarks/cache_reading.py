"""Compare an epoch of training images decoded from files with one read from the cache.

    python benchmarks/cache_reading.py [--data FOLDER] [--images 200] [--size 256] [--repeats 3]

Both arms produce the same uint8 images and masks in the same order, in this process. Without a
folder the images are generated in the usual size of colonoscopy frames.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.config.data import SplitConfig, StudyDataConfig
from harness.data.datasets.sources import open_dataset
from harness.data.datasets.synthetic import generate_dataset
from harness.data.files.image_io import read_pair
from harness.data.files.resize import fit_image, fit_mask
from harness.data.loading.augment import AugmentationPipeline, build_augmentation
from harness.data.loading.image_cache import open_cache
from harness.data.scan.scan import scan_dataset_strict
from harness.data.splits.splits import make_split

MAX_PIXELS = 100e6
Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with images/ and masks/")
    parser.add_argument("--images", type=int, default=200, help="how many of them")
    parser.add_argument("--size", type=int, default=256, help="pixels")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        compare(asked, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(asked: argparse.Namespace, folder: Path) -> None:
    root = asked.data or generate_dataset(folder / "polyps", count=asked.images, size=540)
    meaning = StudyDataConfig(root=str(root))
    dataset = open_dataset(root, meaning, max_pixels=MAX_PIXELS)
    rows = make_split(dataset, scan_dataset_strict(dataset), SplitConfig(fractions=(0.9, 0.1, 0.0)))
    rows = rows[: asked.images]
    size = (asked.size, asked.size)
    cache = open_cache(
        root, rows, meaning, size=size, fit="stretch", folder=folder, max_pixels=MAX_PIXELS
    )

    def from_cache(k: int) -> Arrays:
        return np.array(cache.images[k]), np.array(cache.masks[k])

    def from_files(k: int) -> Arrays:
        masks = [dataset.root / mask for mask in rows[k].masks]
        pair = read_pair(dataset.root / rows[k].image, masks, meaning, MAX_PIXELS)
        return fit_image(pair.image, size, "stretch"), fit_mask(pair.mask, size, "stretch")

    print(f"{len(rows)} images to {asked.size} px, median of {asked.repeats}, ms an image")
    print("augmentation   decoded each epoch   read from the cache   ratio")
    for name in ("none", "light", "medium"):
        augment = build_augmentation(name)
        both = [
            [timed(partial(epoch, read, augment, len(rows))) for _ in range(asked.repeats)]
            for read in (from_files, from_cache)
        ]
        if both[0][0][1] != both[1][0][1]:
            raise SystemExit("the two arms made different pictures")
        slow, fast = (1000 * statistics.median(t for t, _ in arm) / len(rows) for arm in both)
        print(f"{name:12}   {slow:18.3f}   {fast:19.3f}   {slow / fast:5.1f}")


def epoch(read: Callable[[int], Arrays], augment: AugmentationPipeline, n: int) -> int:
    total = 0
    for k in range(n):
        image, mask = augment(*read(k), k)
        total += int(image.sum()) + int(mask.sum())
    return total


def timed(arm: Callable[[], int]) -> tuple[float, int]:
    begin = time.perf_counter()
    result = arm()
    return time.perf_counter() - begin, result


if __name__ == "__main__":
    main()
