"""Training loop without the harness, as a careful user writes it; reads commands, prints seconds.

Started by `benchmarks/trial_overhead.py`, with the same batches, network and optimiser.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.data.loading.augment import build_augmentation
from harness.data.loading.batches import TrainBatches

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def main() -> None:
    for line in sys.stdin:
        begun = time.perf_counter()
        dice = train(**json.loads(line))
        answer = {"seconds": time.perf_counter() - begun, "dice": dice}
        print(json.dumps(answer), flush=True)


def train(
    cache: str, out: str, encoder: str, epochs: int, batch_size: int, n_train: int, seed: int
) -> float:
    """Train on the images of a cache folder; returns the last validation Dice."""
    torch.manual_seed(seed)
    images, masks, truths = (
        np.load(Path(cache) / f"{name}.npy", mmap_mode="r")
        for name in ("images", "masks", "truths")
    )
    batches = TrainBatches(
        images, masks, np.arange(n_train), batch_size, build_augmentation("light"), seed
    )
    network = smp.Unet(encoder, encoder_weights=None, classes=1)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-4, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-4, total_steps=epochs * len(batches)
    )
    best, kept = -1.0, {}
    for epoch in range(1, epochs + 1):
        network.train()
        for pictures, of_pictures in batches.epoch(epoch):
            optimizer.zero_grad()
            logits = network(normalised(pictures))
            target = torch.from_numpy(of_pictures).unsqueeze(1).float()
            loss = dice_loss(logits, target) + F.binary_cross_entropy_with_logits(logits, target)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        dice = validate(network, images[n_train:], truths[n_train:], batch_size)
        if dice > best:
            best, kept = dice, {name: value.clone() for name, value in network.state_dict().items()}
        with (Path(out) / "log.jsonl").open("a") as log:
            log.write(json.dumps({"epoch": epoch, "loss": float(loss), "dice": dice}) + "\n")
    torch.save(kept, Path(out) / "best.pt")
    return best


def validate(network: nn.Module, images: Any, truths: Any, batch_size: int) -> float:
    network.eval()
    values = []
    with torch.inference_mode():
        for k in range(0, len(images), batch_size):
            truth = torch.from_numpy(np.array(truths[k : k + batch_size])).bool()
            logits = network(normalised(np.array(images[k : k + batch_size])))
            logits = F.interpolate(logits, truth.shape[1:], mode="bilinear", align_corners=False)
            said = logits[:, 0] > 0
            both, each = (said & truth).sum((1, 2)), said.sum((1, 2)) + truth.sum((1, 2))
            values += (2 * both / each).tolist()
    return float(np.mean(values))


def normalised(images: Any) -> Tensor:
    pixels = torch.from_numpy(images).float() / 255
    return ((pixels - MEAN) / STD).permute(0, 3, 1, 2)  # stays channels last


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    p = logits.sigmoid()
    return 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)


if __name__ == "__main__":
    main()
