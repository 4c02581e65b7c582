"""Compare a study of the harness with a plain Optuna script: seconds to the same Dice.

    python -m benchmarks.against_plain --data data/kvasir-seg [--seeds 3] [--images 880]

Both search the same space (architecture, rate, batch size, share of the Dice loss) with the same
encoder, weights, images and split at 96 px, one after the other: `benchmarks/plain_optuna.py`
with TPE, MedianPruner and a DataLoader of two workers, and `harness run` with its defaults. Dice
is the mean over the validation images at 96 px, of the best epoch so far. Seconds count from the
start of the process.
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
from harness.core.records import read_epochs

HARNESS = str(Path(sys.executable).with_name("harness"))
PLAIN = Path(__file__).with_name("plain_optuna.py")
VAL_EVERY = 5  # each fifth image validates
STUDY = "data: {root: %s, eval_size: 96}\nsplit: {lists: %s}\n"
SPACE = """
parameters:
  model.arch:       {choices: [Unet, FPN, Linknet]}
  optim.lr:         {low: 1.0e-4, high: 1.0e-2, log: true}
  train.batch_size: {choices: [8, 16]}
  loss.dice:        {low: 0.0, high: 1.0}
fixed:
  model.encoder_name: mobilenet_v2
  model.encoder_weights: imagenet
  data.image_size: 96
  data.augment: light
  loss.bce: 0.5
  train.epochs: %d
"""
Progress = list[tuple[float, float]]  # seconds and Dice of each epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=880, help="of the data set, evenly chosen")
    args = parser.parse_args()
    ratios = []
    print(
        "| seed | plain: Dice, seconds | harness: Dice, seconds | seconds to plain's Dice | ratio |"
    )
    print("|---|---|---|---|---|", flush=True)
    for seed in range(args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_lists(args.data, root / "lists", args.images)
            arms = {"plain": run_plain, "harness": run_harness}
            # In turn, so that no arm always finds the warmer file cache.
            order = list(arms) if seed % 2 == 0 else list(arms)[::-1]
            seen = {arm: arms[arm](root, args, seed) for arm in order}
        plain, own = seen["plain"], seen["harness"]
        target = max(dice for _, dice in plain)
        reached = [seconds for seconds, dice in own if dice >= target]
        first = min(s for s, dice in plain if dice >= target)
        ratio = min(reached, default=float("nan")) / first
        ratios.append(ratio)
        print(
            f"| {seed} | {target:.3f}, {plain[-1][0]:.0f} (reached after {first:.0f}) | "
            f"{max(d for _, d in own):.3f}, {own[-1][0]:.0f} | "
            f"{min(reached, default=float('nan')):.0f} | {ratio:.2f} |",
            flush=True,
        )
    print(f"median ratio: {np.median(ratios):.2f}")


def write_lists(data: Path, folder: Path, n_images: int) -> None:
    """Names of the training and validation images, the same for both arms."""
    names = sorted(path.name for path in (data / "images").iterdir())
    chosen = [names[k * len(names) // n_images] for k in range(min(n_images, len(names)))]
    roles = {
        "val": chosen[::VAL_EVERY],
        "train": [n for k, n in enumerate(chosen) if k % VAL_EVERY],
    }
    folder.mkdir()
    for role, of_role in roles.items():
        (folder / f"{role}.txt").write_text("".join(f"{name}\n" for name in of_role))


def run_plain(root: Path, args: argparse.Namespace, seed: int) -> Progress:
    """Epochs of the plain script."""
    begun = time.time()
    command = [sys.executable, str(PLAIN), "--data", str(args.data.resolve()), "--lists", "lists"]
    command += ["--seed", str(seed), "--trials", str(args.trials), "--epochs", str(args.epochs)]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [(line["at"] - begun, line["dice"]) for line in lines]


def run_harness(root: Path, args: argparse.Namespace, seed: int) -> Progress:
    """Epochs of the harness."""
    study = StudyPaths(root / "studies" / "own")
    study.root.mkdir(parents=True)
    data = link_images(args.data, root)
    study.study_yaml.write_text(STUDY % (data, root / "lists"), encoding="utf-8")
    (root / "space.yaml").write_text(SPACE % args.epochs, encoding="utf-8")
    begun = time.time()
    command = [HARNESS, "run", "--space", "space.yaml", "--study", "own", "--seed", str(seed)]
    command += ["--trials", str(args.trials), "--device", "cpu"]
    subprocess.run(command, cwd=root, check=True, stderr=subprocess.DEVNULL)
    lines = [line for trial in study.all_trials() for line in read_epochs(trial)]
    return sorted((line["time_ms"] / 1000 - begun, line["val/dice"]) for line in lines)


def link_images(data: Path, root: Path) -> Path:
    """A folder with the chosen pairs alone: the lists must name every pair."""
    names = [n for r in ("train", "val") for n in (root / "lists" / f"{r}.txt").read_text().split()]
    for kind in ("images", "masks"):
        (root / "data" / kind).mkdir(parents=True)
        for name in names:
            (root / "data" / kind / name).write_bytes((data / kind / name).read_bytes())
    return root / "data"


if __name__ == "__main__":
    main()
