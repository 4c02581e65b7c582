"""Compare whole images at 256 px with tiles, on mosaics of 4,096 px.

    python -m benchmarks.large_images --source data/dsb2018 [--side 4096] [--epochs 3]

Both arms are one trial of `harness run` each, with the same network and the same mosaics of
`benchmarks/mosaics.py`. Scores are means over the validation mosaics at their own size: Dice, and
F1 of objects (components of 8 neighbours; a pair counts if its IoU is above 0.5). The ceiling is
that of a perfect network at 256 px: the truth brought to that size and enlarged again.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.mosaics import write_mosaics
from harness.config.data import StudyDataConfig
from harness.config.study import TrialConfig
from harness.core import strict_yaml
from harness.core.paths import StudyPaths
from harness.core.settings import flatten
from harness.data.files.resize import resize_mask
from harness.training.metrics.native_size import NativePredictor

Bools = NDArray[np.bool_]
HARNESS = str(Path(sys.executable).with_name("harness"))
SIZE = 256
STUDY = "data: {root: %s, metrics_at: native}\nsplit: {lists: splits}\n"
SPACE = """
fixed:
  model.arch: Unet
  model.encoder_name: mobilenet_v2
  model.encoder_weights: imagenet
  optim.lr: 1.0e-3
  train.batch_size: 4
parameters:
  data.augment: {choices: [medium]}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--train", type=int, default=2, help="training mosaics")
    parser.add_argument("--val", type=int, default=2, help="validation mosaics")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of the tiles")
    parser.add_argument("--whole-epochs", type=int, default=100, help="epochs of whole images")
    parser.add_argument("--overlap", type=float, default=0.5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = root / "mosaics"
        write_mosaics(args.source, data, side=args.side, train=args.train, val=args.val)
        truths = {path.stem: read_truth(path) for path in sorted((data / "masks").glob("val*"))}
        ceiling = [score(enlarged(truth), truth) for truth in truths.values()]
        print(f"ceiling at {SIZE} px: {format_scores(ceiling)}", flush=True)
        arms = {
            "whole": {"data.image_size": SIZE, "train.epochs": args.whole_epochs},
            "tiles": {
                "data.tile.size": SIZE,
                "data.tile.overlap": args.overlap,
                "train.epochs": args.epochs,
            },
        }
        for name, settings in arms.items():
            begun = time.perf_counter()
            study = run(root, name, data, settings)
            seconds = time.perf_counter() - begun
            scores = [score(predict(study, data, stem), y) for stem, y in truths.items()]
            print(f"{name}: {format_scores(scores)}; {seconds / 60:.1f} min", flush=True)


def run(root: Path, name: str, data: Path, settings: dict[str, object]) -> StudyPaths:
    """Train one trial."""
    study = StudyPaths(root / "studies" / name)
    study.root.mkdir(parents=True)
    study.study_yaml.write_text(STUDY % data)
    (root / "space.yaml").write_text(SPACE)
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = [HARNESS, "run", "--space", "space.yaml", "--study", name, "--trials", "1"]
    subprocess.run([*command, "--pruner", "none", *options], cwd=root, check=True)
    return study


def predict(study: StudyPaths, data: Path, stem: str) -> Bools:
    """Decisions of the trial's network for a mosaic."""
    trial = study.trial(0)
    text = trial.config_yaml.read_text(encoding="utf-8")
    config = TrialConfig.from_flat(flatten(strict_yaml.load_yaml(text, source="config").value))
    predictor = NativePredictor(trial.model, config, StudyDataConfig(), torch.device("cpu"))
    image = cv2.cvtColor(cv2.imread(str(data / "images" / f"{stem}.png")), cv2.COLOR_BGR2RGB)
    (p,) = predictor([image])
    return np.asarray(p[0] >= 0.5)


def read_truth(path: Path) -> Bools:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127)


def enlarged(truth: Bools) -> Bools:
    """Truth at SIZE, as in training, and enlarged again as logits are."""
    small = resize_mask(truth.astype(np.uint8), (SIZE, SIZE))
    shape = truth.shape[::-1]
    large = cv2.resize(small.astype(np.float32), shape, interpolation=cv2.INTER_LINEAR)
    return np.asarray(large >= 0.5)


def score(decision: Bools, truth: Bools) -> tuple[float, float]:
    """Dice of pixels and F1 of objects."""
    dice = 2 * (decision & truth).sum() / (decision.sum() + truth.sum())
    return float(dice), object_f1(decision, truth)


def object_f1(decision: Bools, truth: Bools) -> float:
    """F1 of connected objects; above an IoU of 0.5 every object has at most one partner."""
    (n_found, found), (n_true, true) = (
        cv2.connectedComponents(mask.astype(np.uint8), connectivity=8) for mask in (decision, truth)
    )
    pairs = found.astype(np.int64) * n_true + true
    shared_keys, shared = np.unique(pairs[(found > 0) & (true > 0)], return_counts=True)
    found_sizes, true_sizes = np.bincount(found.ravel()), np.bincount(true.ravel())
    union = found_sizes[shared_keys // n_true] + true_sizes[shared_keys % n_true] - shared
    hits = int((shared / union > 0.5).sum())
    return 2 * hits / (n_found - 1 + n_true - 1)


def format_scores(scores: list[tuple[float, float]]) -> str:
    dice, f1 = np.mean(scores, axis=0)
    return f"Dice {dice:.3f}, object F1 {f1:.3f}"


if __name__ == "__main__":
    main()
