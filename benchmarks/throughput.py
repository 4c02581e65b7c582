"""Images per second: the harness, a plain loop, and a batch that is there already.

    python -m benchmarks.throughput [--data FOLDER] [--frame 540] [--encoder mobilenet_v2]
        [--weights imagenet] [--size 96] [--epochs 5] [--seeds 3] [--arms plain,harness,resident]

One process, epoch by epoch in turn, each arm with a network of its own; median over epochs. `plain`
decodes each image in each epoch, in fp32 and torch's default layout, with the number of loader
workers that is fastest here. `resident` trains the harness's network on one batch that was made
before: what the machine can do at most. Beside the rates stand the validation Dice after all
epochs, and which share of the speed of a plain matrix product the network's arithmetic reaches (a
step counted as three forward passes).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.bare_loop import MEAN, STD, dice_loss
from harness.config import TrialConfig
from harness.data.augment import build_augment
from harness.data.cache import ImageCache, open_cache
from harness.data.look import look_at_all
from harness.data.sources import open_folder
from harness.data.splits import SplitRow, make_split
from harness.data.synthetic import generate
from harness.data_config import SplitConfig, StudyDataConfig
from harness.paths import TrialPaths
from harness.training.metrics import summarise
from harness.training.setup import Setup, prepare
from harness.training.validate import validate

AUGMENT, LR, CLIP = "light", 3e-4, 5.0
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with images/ and masks/")
    parser.add_argument("--frame", type=int, default=540, help="pixels of generated images")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--encoder", default="mobilenet_v2")
    parser.add_argument("--weights", help="of the encoder, e.g. imagenet; random without")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", default="plain,harness,resident")
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), parser.parse_args())


def compare(folder: Path, args: argparse.Namespace) -> None:
    root = args.data or generate(folder / "polyps", count=args.images, size=args.frame)
    meaning = StudyDataConfig(root=str(root))
    dataset = open_folder(root, meaning, max_pixels=100e6)
    split = SplitConfig(fractions=(0.8, 0.2, 0.0))
    rows = make_split(dataset, look_at_all(dataset), split)[: args.images]
    size = (args.size, args.size)
    cache = open_cache(
        root, rows, meaning, size=size, fit="stretch", folder=folder, max_pixels=100e6
    )
    names = args.arms.split(",")
    workers = Plain(root, rows, args, 0).best_workers() if "plain" in names else 0
    rates: dict[str, list[float]] = {name: [] for name in names}
    dice: dict[str, list[float]] = {name: [] for name in names if name != "resident"}
    for seed in range(args.seeds):
        setup = set_up(folder / str(seed), cache, rows, args, seed)
        making = {
            "plain": lambda seed=seed: Plain(root, rows, args, seed, workers),
            "harness": lambda setup=setup: Ours(setup),
            "resident": lambda seed=seed: Resident(
                set_up(folder / f"resident-{seed}", cache, rows, args, seed), args
            ),
        }
        arms: dict[str, Any] = {name: making[name]() for name in names}
        for epoch in range(1, args.epochs + 1):
            for name, arm in arms.items():
                begun = time.perf_counter()
                n_images = arm.epoch(epoch)
                rates[name].append(n_images / (time.perf_counter() - begun))
        for name in dice:
            dice[name].append(validated(setup, cache, arms[name].network))
    print(f"{args.encoder} at {args.size} px, batches of {args.batch_size}", flush=True)
    tell(3 * setup.gflops / matrix_gflops(), workers, rates, dice)


def tell(
    seconds: float, workers: int, rates: dict[str, list[float]], dice: dict[str, list[float]]
) -> None:
    """Print rates and ratios; `seconds` is what an image takes at the speed of a matrix product."""
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


def set_up(
    trial: Path, cache: ImageCache, rows: list[SplitRow], args: argparse.Namespace, seed: int
) -> Setup:
    config = TrialConfig.from_flat(
        {
            "model.encoder_name": args.encoder,
            "model.encoder_weights": args.weights,
            "data.image_size": args.size,
            "data.augment": AUGMENT,
            "train.epochs": args.epochs,
            "train.batch_size": args.batch_size,
            "optim.lr": LR,
            "optim.schedule": "constant",
            "optim.grad_clip": CLIP,
            "loss.dice": 1.0,
            "loss.bce": 1.0,
        }
    )
    return prepare(
        config,
        cache,
        {number: row.image for number, row in enumerate(rows)},
        TrialPaths(trial),
        seed=seed,
        device=CPU,
        precision="fp32",
        pretrained=True,
        augments=None,
    )


def validated(setup: Setup, cache: ImageCache, network: nn.Module) -> float:
    """Mean Dice of a network by the harness's own measure."""
    scores = validate(
        network,
        cache,
        cache.val,
        names=setup.names,
        device=CPU,
        normalise=setup.normalise,
        batch_size=16,
    ).scores
    return summarise(scores)["val/dice"]


class Ours:
    """The harness's trainer."""

    def __init__(self, setup: Setup) -> None:
        self._setup, self.network = setup, setup.trainer.network

    def epoch(self, n: int) -> int:
        self._setup.trainer.epoch(n)
        return len(self._setup.images.train)


class Resident:
    """The harness's own step, on one batch that lies in memory as the network takes it."""

    def __init__(self, setup: Setup, args: argparse.Namespace) -> None:
        self._setup, self.network = setup, setup.trainer.network
        shape = (args.batch_size, 3, args.size, args.size)
        fixed = torch.randn(shape).contiguous(memory_format=torch.channels_last)
        masks = np.random.default_rng(0).integers(0, 2, (shape[0], *shape[2:]), dtype=np.uint8)
        self._n_images = len(setup.images.train)
        setup.trainer._normalise = lambda *_: fixed  # type: ignore[assignment]
        setup.trainer._batches = _Same(masks, self._n_images // args.batch_size)  # type: ignore[assignment]
        self._trained = args.batch_size * (self._n_images // args.batch_size)

    def epoch(self, n: int) -> int:
        self._setup.trainer.epoch(n)
        return self._trained


class _Same:
    def __init__(self, masks: Any, steps: int) -> None:
        self._masks, self._steps = masks, steps

    def __len__(self) -> int:
        return self._steps

    def epoch(self, n: int, first: int = 0) -> Iterator[Any]:
        for _ in range(self._steps):
            yield self._masks, self._masks


class Files(Dataset[Any]):
    """Decoded, resized and augmented at every access."""

    def __init__(self, root: Path, rows: list[SplitRow], size: int) -> None:
        self._paths = [(root / row.image, root / row.masks[0]) for row in rows]
        self._size, self._augment = size, build_augment(AUGMENT)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, k: int) -> Any:
        image_path, mask_path = self._paths[k]
        image = cv2.cvtColor(cv2.imread(str(image_path)), cv2.COLOR_BGR2RGB)
        mask = cv2.imread(str(mask_path), cv2.IMREAD_GRAYSCALE)
        size = (self._size, self._size)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        mask = (cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) > 127).astype(np.uint8)
        image, mask = self._augment(image, mask, int(torch.randint(2**31, ()).item()))
        pixels = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        pixels = (pixels - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
        return pixels.contiguous(), torch.from_numpy(mask).unsqueeze(0).float()


class Plain:
    """A loop as one writes it from the tutorials, with care."""

    def __init__(
        self,
        root: Path,
        rows: list[SplitRow],
        args: argparse.Namespace,
        seed: int,
        workers: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        self._files = Files(root, [row for row in rows if row.role == "train"], args.size)
        self._batch_size = args.batch_size
        self.network = smp.Unet(args.encoder, encoder_weights=args.weights, classes=1)
        self._optimizer = torch.optim.AdamW(self.network.parameters(), lr=LR)
        self._loader = self._loading(workers)

    def _loading(self, workers: int) -> Any:
        return DataLoader(
            self._files,
            self._batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    def epoch(self, n: int) -> int:
        self.network.train()
        for inputs, target in self._loader:
            self._optimizer.zero_grad()
            logits = self.network(inputs)
            loss = dice_loss(logits, target) + F.binary_cross_entropy_with_logits(logits, target)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
            self._optimizer.step()
        return len(self._files)

    def best_workers(self) -> int:
        """The fastest of 0, 1 and 2 loader workers, by an epoch of each after one to warm up."""
        seconds = {}
        for workers in (0, 1, 2):
            self._loader = self._loading(workers)
            self.epoch(0)
            begun = time.perf_counter()
            self.epoch(0)
            seconds[workers] = time.perf_counter() - begun
        return min(seconds, key=lambda workers: seconds[workers])


if __name__ == "__main__":
    main()
