"""Kill processes while they build the store of a data set, and check what they leave.

    python -m benchmarks.store_kills [--data FOLDER] [--images 80] [--kills 200]

A process is killed after a random time, up to 1.1 times that of an undisturbed build. Afterwards
the store must be complete, or absent and built again with equal values. Every tenth time two
processes build simultaneously and one of them is killed. A process starts from a server that has
imported the package already, so nearly all of its time is the build.
"""

import argparse
import dataclasses
import multiprocessing
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.data import SplitConfig, StudyDataConfig
from harness.data.datasets.sources import open_dataset
from harness.data.datasets.synthetic import generate_dataset
from harness.data.files.source import FolderSource
from harness.data.scan.scan import scan_dataset_strict
from harness.data.splits.splits import SplitRow, make_split
from harness.data.windows.native_store import NativeStore, open_store, store_key
from harness.data.windows.window import Window

MAX_PIXELS = 100e6
SIDE = 160  # px: before it writes, a build reads eight images to estimate the size of all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with images/ and masks/")
    parser.add_argument("--images", type=int, default=80, help="how many of them")
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        root = options.data or generate_dataset(folder / "polyps", count=options.images, size=SIDE)
        data = StudyDataConfig(root=str(root))
        dataset = open_dataset(root, data, max_pixels=MAX_PIXELS)
        dataset = dataclasses.replace(dataset, pairs=dataset.pairs[: options.images])
        split = SplitConfig(fractions=(0.9, 0.1, 0.0))
        rows = make_split(dataset, scan_dataset_strict(dataset), split)
        outcomes = kill_builders(root, rows, data, folder / "cache", options.kills)
        for outcome, n in sorted(outcomes.items()):
            print(f"{n} kills of {outcome}")
        print(f"after all {options.kills} kills the store had equal values")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def build(root: Path, rows: list[SplitRow], data: StudyDataConfig, folder: Path) -> NativeStore:
    return open_store(FolderSource(root), rows, data, folder=folder, max_pixels=MAX_PIXELS)


def kill_builders(
    root: Path, rows: list[SplitRow], data: StudyDataConfig, folder: Path, n_kills: int
) -> Counter[str]:
    """Kill builders and check each store that they leave.

    Returns:
        The number of each outcome.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harness.data.windows.native_store"])
    arguments = (root, rows, data, folder)

    def start() -> Any:
        process = context.Process(target=build, args=arguments)
        process.start()
        return process

    start().join()  # starts the server, too
    expected = checksum(build(*arguments))
    shutil.rmtree(folder)
    begin = time.perf_counter()
    start().join()
    seconds = time.perf_counter() - begin
    print(f"a build takes {seconds:.2f} s", flush=True)
    store_folder, delays = folder / store_key(rows, data), random.Random(0)
    outcomes: Counter[str] = Counter()
    for kill in range(n_kills):
        shutil.rmtree(folder, ignore_errors=True)
        processes = [start() for _ in range(1 + (kill % 10 == 0))]
        time.sleep(delays.uniform(0, 1.1 * seconds))
        processes[0].kill()
        for process in processes:
            process.join()
        n_builders = "one builder" if len(processes) == 1 else "one of two builders"
        outcomes[f"{n_builders}, {describe(folder, store_folder)}"] += 1
        if checksum(build(*arguments)) != expected:
            raise SystemExit(f"kill {kill}: the store has other values")
        if len([path for path in folder.iterdir() if not path.name.startswith(".")]) != 1:
            raise SystemExit(f"kill {kill}: more than the store is left")
        if (kill + 1) % 20 == 0:
            print(f"{kill + 1} of {n_kills} kills", flush=True)
    return outcomes


def describe(folder: Path, store_folder: Path) -> str:
    """State of the cache folder after a kill."""
    if store_folder.is_dir():
        return "the store was complete"
    if folder.is_dir() and any(folder.glob(".*.tmp")):
        return "a part was left, and the store was built again"
    return "nothing was left, and the store was built again"


def checksum(store: NativeStore) -> int:
    total = 0
    for row in range(len(store)):
        height, width, _ = store.shape(row)
        window = Window(0, 0, height, width)
        parts = store.read_image(row, window), store.read_mask(row, window)
        total += sum(int(part.sum(dtype=np.int64)) * (row + 1) for part in parts)
    return total


if __name__ == "__main__":
    main()
