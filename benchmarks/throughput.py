"""Measure images per second: the harness, a plain loop, and a batch that is already in memory.

    python -m benchmarks.throughput [--data FOLDER] [--frame 540] [--png]
        [--encoder mobilenet_v2] [--weights imagenet] [--size 96] [--epochs 5] [--seeds 3]
        [--precision auto] [--arms plain,harness,resident]

The arms take turns epoch by epoch, each with its own network and process; rates are medians over
the epochs of each seed except the first. `plain` decodes each image in each epoch, in fp32 and
torch's default layout, with the number of loader workers that is fastest here. `resident` trains
the harness's network on one prepared batch: the upper limit of this machine. The table also has the
validation Dice after all epochs, and the network's arithmetic as a share of the speed of a plain
matrix product (a step counts as three forward passes).
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import torch

from benchmarks.throughput_arms import serve
from harness.config.data import SplitConfig, StudyDataConfig
from harness.data.datasets.sources import open_dataset
from harness.data.datasets.synthetic import generate_dataset
from harness.data.scan.scan import scan_dataset_strict
from harness.data.splits.splits import make_split
from harness.execution.prestart import ALLOCATOR_ENVIRONMENT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with images/ and masks/")
    parser.add_argument("--frame", type=int, default=540, help="pixels of generated images")
    parser.add_argument("--png", action="store_true", help="generated images as PNG, not as JPEG")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--encoder", default="mobilenet_v2")
    parser.add_argument("--weights", help="of the encoder, e.g. imagenet; random without")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", default="auto", help="of the harness; plain has fp32")
    parser.add_argument("--arms", default="plain,harness,resident")
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), parser.parse_args())


def compare(folder: Path, args: argparse.Namespace) -> None:
    root = args.data or generate_dataset(folder / "polyps", count=args.images, size=args.frame)
    if args.png and not args.data:
        as_png(root / "images")
    dataset = open_dataset(root, StudyDataConfig(root=str(root)), max_pixels=100e6)
    split = SplitConfig(fractions=(0.8, 0.2, 0.0))
    rows = make_split(dataset, scan_dataset_strict(dataset), split)[: args.images]
    names = args.arms.split(",")
    arms = {name: Remote(name, folder, root, rows, args) for name in names}
    workers = arms["plain"].ask("find_workers") if "plain" in names else 0
    rates: dict[str, list[float]] = {name: [] for name in names}
    dice: dict[str, list[float]] = {name: [] for name in names if name != "resident"}
    for seed in range(args.seeds):
        for arm in arms.values():
            gflops = arm.ask("begin", seed)
        for epoch in range(1, args.epochs + 1):
            for name, arm in arms.items():
                rate = arm.ask("epoch", epoch)
                if epoch > 1:  # the first one starts loaders and lays out memory
                    rates[name].append(rate)
        for name in dice:
            dice[name].append(arms[name].ask("dice"))
    for arm in arms.values():
        arm.close()
    print(f"{args.encoder} at {args.size} px, batches of {args.batch_size}", flush=True)
    tell(3 * gflops / matrix_gflops(), workers, rates, dice)


def as_png(folder: Path) -> None:
    """Write a folder's JPEG images as PNG, without loss, in their place."""
    for path in list(folder.glob("*.jpg")):
        cv2.imwrite(str(path.with_suffix(".png")), cv2.imread(str(path)))
        path.unlink()


class Remote:
    """Start an arm in its own process; those of the harness start like its workers."""

    def __init__(self, name: str, *given: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, name, *given))
        ours = {} if name == "plain" else ALLOCATOR_ENVIRONMENT
        with patch.dict(os.environ, ours):
            self._process.start()

    def ask(self, method: str, *given: Any) -> Any:
        self._pipe.send((method, given))
        return self._pipe.recv()

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


def tell(
    seconds: float, workers: int, rates: dict[str, list[float]], dice: dict[str, list[float]]
) -> None:
    """Print rates and ratios; `seconds`: time of an image at the speed of a matrix product."""
    for name, values in rates.items():
        shown = f" ({workers} loader workers)" if name == "plain" else ""
        each = ", ".join(f"{value:.3f}" for value in dice.get(name, ()))
        learnt = f"; val/dice {each}" if each else ""
        rate = statistics.median(values)
        print(f"{name}{shown}: {rate:.1f} images/s, {rate * seconds:.0%}{learnt}")
    for other in set(rates) - {"harness"}:
        pairs = zip(rates["harness"], rates[other], strict=True)
        print(f"harness / {other}: {statistics.median(a / b for a, b in pairs):.2f}")


def matrix_gflops(size: int = 1536) -> float:
    """10^9 operations a second of a product of fp32 matrices: the best of ten."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    seconds = []
    for _ in range(10):
        begun = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - begun)
    return 2 * size**3 / min(seconds) / 1e9


if __name__ == "__main__":
    main()
