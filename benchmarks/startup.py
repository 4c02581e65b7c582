"""Measure the time until a study trains: `harness run` against the imports of its libraries.

    python benchmarks/startup.py [--repeats 5]

Both arms run in turn, each in a fresh process, with all caches built before. The first step of a
trial begins with its first epoch, whose start follows from `epochs.jsonl`. A second table compares
`harness --help` with `import typer`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS = "import torch, segmentation_models_pytorch, albumentations"
SPACE = """
parameters:
  optim.lr: {low: 1.0e-4, high: 1.0e-3, log: true}
fixed:
  model.encoder_name: resnet18
  model.encoder_weights: null
  data.image_size: 64
  train.epochs: 1
  train.batch_size: 8
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "s.yaml").write_text(SPACE)
        first_step(root, "warm")  # builds data and caches
        bare, ours = [], []
        for n in range(repeats):
            bare.append(bare_imports())
            ours.append(first_step(root, f"study-{n}"))
            print(f"bare imports {bare[-1]:.1f} s, first step {ours[-1]:.1f} s", flush=True)
        beyond = [mine - plain for mine, plain in zip(ours, bare, strict=True)]
        print(f"median: {statistics.median(beyond):.1f} s beyond the bare imports", flush=True)
    typer = [seconds([sys.executable, "-c", "import typer"]) for _ in range(4 * repeats)]
    helped = [seconds([*HARNESS, "--help"]) for _ in range(4 * repeats)]
    ratio = statistics.median(helped) / statistics.median(typer)
    print(f"harness --help / import typer: {ratio:.2f} ({1000 * statistics.median(helped):.0f} ms)")


HARNESS = [str(Path(sys.executable).with_name("harness"))]


def bare_imports() -> float:
    """Seconds from the start of a process to the end of its imports, without its shutdown."""
    begun = time.time()
    code = f"{IMPORTS}; import os, time; print(time.time(), flush=True); os._exit(0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return float(done.stdout) - begun


def first_step(root: Path, study: str) -> float:
    """Seconds from the start of `harness run` to the beginning of the first epoch."""
    begun = time.time()
    asked = ["run", "--space", "s.yaml", "--study", study, "--data", "synthetic", "--trials", "1"]
    subprocess.run(
        [*HARNESS, *asked], cwd=root, check=True, capture_output=True, env=dict(os.environ)
    )
    log = root / "studies" / study / "trials" / "0000" / "epochs.jsonl"
    line = json.loads(log.read_text().splitlines()[0])
    return float(line["time_ms"] / 1000 - line["seconds"] - begun)


def seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
