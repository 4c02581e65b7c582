"""Compare the time of a study with two workers of one thread each and with one worker of two.

    python benchmarks/two_workers.py [--repeats 3] [--trials 6]

Complete commands in turn, from the start of the process to its end, with all caches built before.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HARNESS = str(Path(sys.executable).with_name("harness"))
SPACE = """
parameters:
  optim.lr: {low: 1.0e-4, high: 1.0e-3, log: true}
fixed:
  model.encoder_name: mobilenet_v2
  model.encoder_weights: null
  data.image_size: 64
  train.epochs: 6
  train.batch_size: 8
"""
ARMS = {"one": ["--workers", "1"], "two": ["--workers", "2"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=6)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "s.yaml").write_text(SPACE)
        run(root, "warm", 1, ARMS["one"])
        ratios = []
        for n in range(args.repeats):
            took = {
                name: run(root, f"{name}-{n}", args.trials, options)
                for name, options in ARMS.items()
            }
            ratios.append(took["two"] / took["one"])
            print(f"one worker {took['one']:.1f} s, two workers {took['two']:.1f} s", flush=True)
        print(f"two workers / one with two threads: {statistics.median(ratios):.2f}")


def run(root: Path, study: str, trials: int, options: list[str]) -> float:
    asked = ["--space", "s.yaml", "--study", study, "--data", "synthetic", "--trials", str(trials)]
    asked += ["--sampler", "random", "--pruner", "none"]
    begun = time.perf_counter()
    subprocess.run([HARNESS, "run", *asked, *options], cwd=root, check=True, capture_output=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
