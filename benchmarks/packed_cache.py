"""Compare the compressed cache of a data set with plain arrays of the same images.

    python -m benchmarks.packed_cache [--data FOLDER] [--sizes 96 256] [--images 400]

Both arms hold the same values: `packed` is the cache that `harness run` builds, `plain` the same
arrays in memory-mapped .npy files, in which untouched truths take no space. Three rates are printed
for each size, each the median of its repeats, the arms in turn in one process: images read in
random order; batches with the augmentation `light`; training steps of Unet/mobilenet_v2. Rates are
per second of processor time, so that other work on the machine changes them less.
"""

import argparse
import dataclasses
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch

from harness.config.data import SplitConfig, StudyDataConfig
from harness.data.datasets.sources import open_dataset
from harness.data.datasets.synthetic import generate_dataset
from harness.data.loading.augment import build_augmentation
from harness.data.loading.batches import TrainBatches
from harness.data.loading.image_cache import ImageCache, open_cache
from harness.data.scan.scan import scan_dataset_strict
from harness.data.splits.splits import SplitRow, make_split

MAX_PIXELS = 100e6
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with images/ and masks/")
    parser.add_argument("--images", type=int, default=400, help="how many of them")
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 256], help="pixels")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="training steps of a repeat")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        root = options.data or generate_dataset(folder / "polyps", count=options.images, size=540)
        data = StudyDataConfig(root=str(root))
        dataset = open_dataset(root, data, max_pixels=MAX_PIXELS)
        pairs = dataset.pairs[: options.images]
        dataset = dataclasses.replace(dataset, pairs=pairs)
        split = SplitConfig(fractions=(0.9, 0.1, 0.0))
        rows = make_split(dataset, scan_dataset_strict(dataset), split)
        print(f"{len(rows)} images, median of {options.repeats}; images per second, packed / plain")
        print("size   bytes packed / plain   read   batches   training")
        for size in options.sizes:
            compare(size, dataset.source, rows, data, folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(
    size: int,
    source: Any,
    rows: list[SplitRow],
    data: StudyDataConfig,
    folder: Path,
    options: argparse.Namespace,
) -> None:
    caches, plain_folder = folder / f"packed{size}", folder / f"plain{size}"
    packed = open_cache(
        source, rows, data, size=(size, size), fit="stretch", folder=caches, max_pixels=MAX_PIXELS
    )
    plain = unpacked(packed, plain_folder)
    n_bytes = [stored_bytes(caches), stored_bytes(plain_folder)]
    arms = {"packed": packed, "plain": plain}
    rates = []
    for measure in (reading_rate, batch_rate, partial(training_rate, steps=options.steps)):
        results: dict[str, list[float]] = {name: [] for name in arms}
        for repeat in range(options.repeats + 1):
            for name in arms if repeat % 2 else reversed(arms):
                rate = measure(arms[name], repeat)
                if repeat:  # the first one fills the page cache
                    results[name].append(rate)
        rates.append([statistics.median(results[name]) for name in arms])
    share = n_bytes[0] / n_bytes[1]
    sizes = f"{n_bytes[0] / 1e6:.1f} / {n_bytes[1] / 1e6:.1f} MB = {share:.2f}"
    print(
        f"{size:4}   {sizes}   " + "   ".join(f"{a:.0f} / {b:.0f} = {a / b:.2f}" for a, b in rates)
    )


def unpacked(cache: ImageCache, folder: Path) -> ImageCache:
    """Write the arrays of a cache without compression and map them."""
    folder.mkdir()
    arrays = {}
    for name in ("images", "masks", "truths"):
        array = np.asarray(getattr(cache, name))
        path = folder / f"{name}.npy"
        mapped = np.lib.format.open_memmap(path, "w+", array.dtype, array.shape)
        for index, image in enumerate(array):
            if image.any():
                mapped[index] = image
        if name != "truths":
            mapped[:] = array
        mapped.flush()
        arrays[name] = np.load(path, mmap_mode="r")
    return dataclasses.replace(cache, **arrays)


def stored_bytes(folder: Path) -> int:
    """Bytes on disk, without holes."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def timed(n_images: int, work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return n_images / (time.process_time() - start)


def reading_rate(cache: ImageCache, seed: int) -> float:
    order = np.random.default_rng(seed).permutation(cache.train)

    def read() -> None:
        for index in order:
            np.array(cache.images[int(index)])
            np.array(cache.masks[int(index)])

    return timed(len(order), read)


def make_batches(cache: ImageCache, seed: int) -> TrainBatches:
    augment = build_augmentation("light")
    return TrainBatches(cache.images, cache.masks, cache.train, BATCH, augment, seed)


def batch_rate(cache: ImageCache, seed: int) -> float:
    batches = make_batches(cache, seed)
    return timed(len(batches) * BATCH, lambda: [None for _ in batches.epoch(1)])


def training_rate(cache: ImageCache, seed: int, steps: int) -> float:
    torch.manual_seed(0)
    model = smp.Unet("mobilenet_v2", encoder_weights=None).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    epoch = make_batches(cache, seed).epoch(1)

    def step() -> None:
        images, masks = next(epoch)
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            model(x)[:, 0], torch.from_numpy(masks).float()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    rate = timed(BATCH * steps, lambda: [step() for _ in range(steps)])
    epoch.close()  # type: ignore[attr-defined]
    return rate


if __name__ == "__main__":
    main()
