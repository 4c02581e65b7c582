"""Compare sampling by classes with uniform sampling on the rare classes of CamVid.

    python -m benchmarks.rare_classes --data data/camvid [--seeds 3] [--epochs 8]

One study for each arm, with the same seeds: initial weights, order and augmentation of a pair
differ by nothing but the images that are drawn more often. Both arms take the same number of
epochs, of which those of `classes` are longer: "draws" says by how much.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.core.paths import StudyPaths
from harness.training.metrics.image_scores import read_scores

HARNESS = str(Path(sys.executable).with_name("harness"))
CLASSES = ("sky", "building", "pole", "road", "pavement", "tree")
CLASSES = (*CLASSES, "sign", "fence", "car", "pedestrian", "bicyclist")
RARE = ("pole", "sign", "bicyclist")
STUDY = """
data: {root: %s, task: multiclass, classes: [%s], ignore_index: 11, eval_size: 256}
sampler: {name: grid}
"""
SPACE = """
parameters:
  train.seed: {choices: [%s]}
fixed:
  model.arch: Unet
  model.encoder_name: mobilenet_v2
  model.encoder_weights: imagenet
  data.image_size: [128, 160]
  optim.lr: 1.0e-3
  loss.bce: 0.0
  loss.ce: 0.5
  loss.dice: 0.5
  train.batch_size: 8
  train.epochs: %d
  data.sampling: %s
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arms = {}
        for sampling in ("uniform", "classes"):
            begun = time.perf_counter()
            study = run(Path(folder), sampling, args.data, args.seeds, args.epochs)
            arms[sampling] = [iou_by_class(study, n) for n in range(args.seeds)]
            draws = json.loads(study.trial(0).trial_json.read_text())["draws"]
            minutes = (time.perf_counter() - begun) / 60
            rare = [f"{np.mean([iou[c] for c in RARE]):.3f}" for iou in arms[sampling]]
            line = f"{sampling}: rare {', '.join(rare)}; draws {draws}; {minutes:.1f} min"
            print(line, flush=True)
        for name in (*RARE, "the three", "all classes"):
            chosen = {"the three": RARE, "all classes": CLASSES}.get(name, (name,))
            values = {
                arm: np.array([np.mean([iou[c] for c in chosen]) for iou in of_arm])
                for arm, of_arm in arms.items()
            }
            difference = values["classes"] - values["uniform"]
            print(
                f"{name}: uniform {values['uniform'].mean():.3f}, classes "
                f"{values['classes'].mean():.3f}, difference by seed "
                f"{', '.join(f'{d:+.3f}' for d in difference)}"
            )


def run(root: Path, sampling: str, data: Path, seeds: int, epochs: int) -> StudyPaths:
    """Train one trial for each seed."""
    study = StudyPaths(root / "studies" / sampling)
    study.root.mkdir(parents=True)
    study.study_yaml.write_text(STUDY % (data.resolve(), ", ".join(CLASSES)))
    space = root / f"{sampling}.yaml"
    space.write_text(SPACE % (", ".join(map(str, range(seeds))), epochs, sampling))
    command = [HARNESS, "run", "--space", space.name, "--study", sampling, "--pruner", "none"]
    subprocess.run([*command, "--trials", str(seeds)], cwd=root, check=True, capture_output=True)
    return study


def iou_by_class(study: StudyPaths, number: int) -> dict[str, float]:
    """IoU of each class over all validation images together, at the best epoch."""
    scores = read_scores(study.trial(number).scores_csv)
    values = {}
    for index, name in enumerate(CLASSES):
        own = scores.class_index == index
        tp, fp, fn = (int(part[own].sum()) for part in (scores.tp, scores.fp, scores.fn))
        values[name] = tp / max(1, tp + fp + fn)
    return values


if __name__ == "__main__":
    main()
