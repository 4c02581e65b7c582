"""Measure peak memory of scan, store and windows of pictures of 10,000 x 10,000 pixels.

    python -m benchmarks.large_pictures [--pictures 10] [--side 10000]

Half of the generated TIFFs are tiled, the others are striped and compressed by LZW. Each step runs
in a process of its own; the peak is that of its resident memory, imports included.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import tifffile

from harness.config.data import SplitConfig, StudyDataConfig
from harness.data.datasets.sources import open_dataset
from harness.data.scan.scan import scan_dataset_strict
from harness.data.splits.splits import make_split
from harness.data.windows.native_store import open_store
from harness.data.windows.window import Window

MAX_PIXELS = 100e6
SPLIT = SplitConfig(fractions=(0.6, 0.2, 0.2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("--side", type=int, default=10_000, help="pixels")
    parser.add_argument("--step", choices=["generate", "scan", "store", "windows"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.step:
        run_step(options.step, options.folder, options.pictures, options.side)
        return
    folder = Path(tempfile.mkdtemp())
    try:
        for step in ("generate", "scan", "store", "windows"):
            arguments = ["--step", step, "--folder", str(folder), "--side", str(options.side)]
            arguments += ["--pictures", str(options.pictures)]
            command = [sys.executable, "-m", "benchmarks.large_pictures", *arguments]
            subprocess.run(command, check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_step(step: str, folder: Path, n: int, side: int) -> None:
    start = time.perf_counter()
    if step == "generate":
        generate(folder / "data", n, side)
    else:
        data = StudyDataConfig(root=str(folder / "data"))
        dataset = open_dataset(folder / "data", data, max_pixels=MAX_PIXELS)
        scans = scan_dataset_strict(dataset, cache=folder / "scans")
        if step != "scan":
            rows = make_split(dataset, scans, SPLIT)
            store = open_store(
                dataset.source, rows, data, folder=folder / "cache", max_pixels=MAX_PIXELS
            )
        if step == "windows":
            rng = np.random.default_rng(0)
            for _ in range(200):
                row, top, left = (int(rng.integers(high)) for high in (len(store), side, side))
                window = Window(min(top, side - 512), min(left, side - 512), 512, 512)
                store.read_image(row, window)
                store.read_mask(row, window)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    n_bytes = sum(path.stat().st_size for path in (folder / "cache").rglob("*") if path.is_file())
    print(
        f"{step:8} {seconds:6.1f} s  peak {peak:5.0f} MB  store {n_bytes / 1e6:.0f} MB", flush=True
    )


def generate(root: Path, n: int, side: int) -> None:
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for index in range(n):
        rng = np.random.default_rng(index)
        small = rng.integers(0, 256, (side // 20, side // 20, 3)).astype(np.uint8)
        image = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
        image += rng.integers(0, 4, image.shape, np.uint8)
        mask = np.zeros((side, side), np.uint8)
        for _ in range(2000):
            centre = int(rng.integers(side)), int(rng.integers(side))
            cv2.circle(mask, centre, int(rng.integers(4, 40)), 255, -1)
        for name, array, kind in (("images", image, "rgb"), ("masks", mask, "minisblack")):
            storage = (
                {"tile": (512, 512)} if index % 2 else {"compression": "lzw", "rowsperstrip": 4}
            )
            tifffile.imwrite(root / name / f"{index}.tif", array, photometric=kind, **storage)


if __name__ == "__main__":
    main()
