"""Study of segmentation networks as a careful user writes it with Optuna, in one file.

    python benchmarks/plain_optuna.py --data data/kvasir-seg --lists FOLDER --seed 0

Nothing of the harness is used. Prints a line of JSON for each epoch. benchmarks/against_plain.py
compares it with the harness.
"""

import argparse
import json
import time
from pathlib import Path

import albumentations as alb
import cv2
import mlflow
import numpy as np
import optuna
import segmentation_models_pytorch as smp
import torch
from torch.utils.data import DataLoader, Dataset

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 96


class Polyps(Dataset):
    """Pairs of image and mask, decoded in each epoch."""

    def __init__(self, root: Path, names: list[str], *, augment: bool) -> None:
        self.root, self.names = root, names
        flips = [alb.HorizontalFlip(), alb.VerticalFlip(), alb.RandomBrightnessContrast()]
        steps = [alb.Resize(SIZE, SIZE), *(flips if augment else []), alb.Normalize(MEAN, STD)]
        self.steps = alb.Compose(steps)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        name = self.names[index]
        image = cv2.cvtColor(cv2.imread(str(self.root / "images" / name)), cv2.COLOR_BGR2RGB)
        mask = cv2.imread(str(self.root / "masks" / name), cv2.IMREAD_GRAYSCALE) > 127
        both = self.steps(image=image, mask=mask.astype(np.uint8))
        image, mask = both["image"].transpose(2, 0, 1), both["mask"][None].astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(mask)


def dice_per_image(network: torch.nn.Module, loader: DataLoader) -> float:
    network.eval()
    scores = []
    with torch.inference_mode():
        for images, masks in loader:
            found, truth = network(images) > 0, masks > 0.5
            both = (found & truth).sum((1, 2, 3))
            scores += (2 * both / (found.sum((1, 2, 3)) + truth.sum((1, 2, 3)))).tolist()
    return float(np.nanmean(scores))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lists", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    train, val = ((args.lists / f"{r}.txt").read_text().split() for r in ("train", "val"))
    torch.manual_seed(args.seed)

    def objective(trial: optuna.Trial) -> float:
        arch = trial.suggest_categorical("arch", ["Unet", "FPN", "Linknet"])
        rate = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
        batch = trial.suggest_categorical("batch_size", [8, 16])
        share = trial.suggest_float("dice", 0.0, 1.0)
        network = smp.create_model(arch, "mobilenet_v2", encoder_weights="imagenet", classes=1)
        optimizer = torch.optim.AdamW(network.parameters(), rate)
        dice, bce = smp.losses.DiceLoss("binary"), torch.nn.BCEWithLogitsLoss()
        workers = {"num_workers": 2, "persistent_workers": True}
        drawn = Polyps(args.data, train, augment=True)
        batches = DataLoader(drawn, batch, shuffle=True, drop_last=True, **workers)
        held = DataLoader(Polyps(args.data, val, augment=False), 16, **workers)
        best = 0.0
        with mlflow.start_run():
            mlflow.log_params(trial.params)
            for epoch in range(args.epochs):
                network.train()
                for images, masks in batches:
                    logits = network(images)
                    loss = share * dice(logits, masks) + (1 - share) * bce(logits, masks)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                score = dice_per_image(network, held)
                best = max(best, score)
                mlflow.log_metric("dice", score, epoch)
                print(json.dumps({"at": time.time(), "trial": trial.number, "dice": score}))
                trial.report(score, epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return best

    mlflow.set_tracking_uri("sqlite:///plain-mlflow.db")
    sampler = optuna.samplers.TPESampler(seed=args.seed)
    study = optuna.create_study(
        direction="maximize", sampler=sampler, pruner=optuna.pruners.MedianPruner()
    )
    study.optimize(objective, args.trials)


if __name__ == "__main__":
    main()
