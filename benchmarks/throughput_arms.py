"""The arms of `benchmarks/throughput.py`, each in a process of its own."""

import argparse
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
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
from harness.config.data import StudyDataConfig
from harness.config.study import TrialConfig
from harness.core.paths import TrialPaths
from harness.data.loading.augment import build_augmentation
from harness.data.loading.image_cache import ImageCache, open_cache
from harness.data.splits.splits import SplitRow
from harness.training.hardware.device import pick_precision
from harness.training.loop.setup import TrainingInputs, TrainingSetup, prepare_training
from harness.training.metrics.image_scores import summarise_scores
from harness.training.metrics.validation import validate_network

AUGMENT, LR, CLIP = "light", 3e-4, 5.0
CPU = torch.device("cpu")


def serve(
    pipe: Connection, name: str, folder: Path, root: Path, rows: list[SplitRow], args: Any
) -> None:
    """Answer the names and arguments of `Arm`'s methods until there is None."""
    if name != "plain":
        cv2.setNumThreads(0)  # as the worker does
    arm = Arm(name, folder, root, rows, args)
    for method, given in iter(pipe.recv, None):
        pipe.send(getattr(arm, method)(*given))


class Arm:
    """Interface of an arm."""

    def __init__(
        self, name: str, folder: Path, root: Path, rows: list[SplitRow], args: argparse.Namespace
    ) -> None:
        self._name, self._folder, self._args = name, folder, args
        self._root, self._rows = root, rows
        self._workers = 0
        self._cache = open_cache(
            root,
            rows,
            StudyDataConfig(root=str(root)),
            size=(args.size, args.size),
            fit="stretch",
            folder=folder / "cache",
            max_pixels=100e6,
        )

    def find_workers(self) -> int:
        """Find the fastest number of loader workers, and keep it."""
        self._workers = Plain(self._root, self._rows, self._args, 0).best_workers()
        return self._workers

    def begin(self, seed: int) -> float:
        """A new network; 10^9 operations of its forward pass for an image."""
        setup = set_up(
            self._folder / f"{self._name}-{seed}", self._cache, self._rows, self._args, seed
        )
        making: dict[str, Callable[[], Any]] = {
            "plain": lambda: Plain(self._root, self._rows, self._args, seed, self._workers),
            "harness": lambda: Ours(setup),
            "resident": lambda: Resident(setup, self._args),
        }
        self._setup, self._arm = setup, making[self._name]()
        return setup.gflops

    def epoch(self, n: int) -> float:
        """Images per second."""
        begun = time.perf_counter()
        n_images: int = self._arm.epoch(n)
        return n_images / (time.perf_counter() - begun)

    def dice(self) -> float:
        return validated(self._setup, self._cache, self._arm.network)


def set_up(
    trial: Path, cache: ImageCache, rows: list[SplitRow], args: argparse.Namespace, seed: int
) -> TrainingSetup:
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
    return prepare_training(
        TrainingInputs(
            config,
            cache,
            {number: row.image for number, row in enumerate(rows)},
            TrialPaths(trial),
            seed=seed,
            device=CPU,
            precision=pick_precision(args.precision, CPU),
            augments=None,
        ),
        pretrained=True,
    )


def validated(setup: TrainingSetup, cache: ImageCache, network: nn.Module) -> float:
    """Mean Dice of a network by the harness's own measure."""
    scores = validate_network(
        network,
        cache,
        cache.val,
        names=setup.inputs.names,
        device=CPU,
        normalizer=setup.normalizer,
        batch_size=16,
    ).scores
    return summarise_scores(scores)["val/dice"]


class Ours:
    """The harness's trainer."""

    def __init__(self, setup: TrainingSetup) -> None:
        self._setup, self.network = setup, setup.trainer.network

    def epoch(self, n: int) -> int:
        self._setup.trainer.train_epoch(n)
        return len(self._setup.inputs.images.train)


class Resident:
    """The harness's training step, on one batch that is already in memory in its final form."""

    def __init__(self, setup: TrainingSetup, args: argparse.Namespace) -> None:
        self._setup, self.network = setup, setup.trainer.network
        shape = (args.batch_size, 3, args.size, args.size)
        fixed = torch.randn(shape).contiguous(memory_format=torch.channels_last)
        masks = np.random.default_rng(0).integers(0, 2, (shape[0], *shape[2:]), dtype=np.uint8)
        self._n_images = len(setup.inputs.images.train)
        setup.trainer._normalizer = lambda *_: fixed  # type: ignore[assignment]
        setup.trainer._batches = _Same(masks, self._n_images // args.batch_size)  # type: ignore[assignment]
        self._trained = args.batch_size * (self._n_images // args.batch_size)

    def epoch(self, n: int) -> int:
        self._setup.trainer.train_epoch(n)
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
    """Dataset that decodes, resizes and augments at every access."""

    def __init__(self, root: Path, rows: list[SplitRow], size: int) -> None:
        self._paths = [(root / row.image, root / row.masks[0]) for row in rows]
        self._size, self._augment = size, build_augmentation(AUGMENT)

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
    """A careful training loop in the style of the PyTorch tutorials."""

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
