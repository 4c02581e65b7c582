"""Measure inspect, split, run and report on very many small images: seconds, memory and bytes.

    python benchmarks/many_images.py [--images 100000] [--copies 200] [--keep FOLDER]

Images of 64 px are generated, copies of some of them are planted: resized, compressed again,
brighter, of more contrast, turned. Each step is a process of its own, whose peak memory is read
when it ends. One trial of one epoch trains a small network on a fiftieth of the images.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array8 = NDArray[np.uint8]

SIDE = 64
SPACE = """\
fixed:
  data.image_size: 32
  data.subset: 0.02
  model.arch: Unet
  model.encoder_name: mobilenet_v2
  model.encoder_depth: 3
  model.encoder_weights: null
  train.epochs: 1
parameters:
  optim.lr: {low: 0.001, high: 0.01, log: true}
"""
STUDY = "data: {root: many, eval_size: 64}\n"
SPLIT = """\
from pathlib import Path
import sys, time
from harness.config.data import SplitConfig, StudyDataConfig
from harness.data.datasets.sources import open_dataset
from harness.data.scan.scan import duplicates_among, scan_dataset
from harness.data.splits.splits import make_split, write_split
root, cache = Path(sys.argv[1]), Path(sys.argv[2])
dataset = open_dataset(root, StudyDataConfig(root="many", eval_size=64), max_pixels=1e8)
scan = scan_dataset(dataset, None, cache)
start = time.perf_counter()
copies = duplicates_among(scan.pair_stats)
middle = time.perf_counter()
rows = make_split(dataset, scan.pair_stats, SplitConfig(), copies)
print(f"copies {middle - start:.1f} s, roles {time.perf_counter() - middle:.1f} s")
write_split(root.parent / "split.csv", rows)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000, help="with the copies")
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="folder to leave everything in")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp())
    data = folder / "data/many"
    try:
        planted = generate(data, arguments.images, arguments.copies)
        print(f"{arguments.images} images, {disk_mb(data):,.0f} MB of files", flush=True)
        for name in ("study.yaml", "space.yaml"):
            (folder / name).write_text(STUDY if name == "study.yaml" else SPACE)
        study = folder / "studies/many/study.yaml"
        study.parent.mkdir(parents=True, exist_ok=True)
        study.write_text(STUDY)
        harness = [sys.executable, "-m", "harness"]
        inspect = [*harness, "data", "inspect", "many", "--workspace", folder]
        inspect += ["--study", folder / "study.yaml"]
        measure("inspect --sample 1000", [*inspect, "--sample", "1000"], arguments.images)
        page = ["--json", "--html", folder / "inspection.html"]
        report = measure("inspect", [*inspect, *page], arguments.images)
        check_copies(json.loads(report), planted)
        cache = folder / "data/cache/looks"
        print(f"scan cache {disk_mb(cache):,.1f} MB", flush=True)
        split = [sys.executable, "-c", SPLIT, data, cache]
        print(measure("split", split, arguments.images).strip(), flush=True)
        run = [*harness, "run", "--study", "many", "--space", folder / "space.yaml"]
        run += ["--data", "many", "--trials", "1", "--device", "cpu", "--workspace", folder]
        measure("run", run, arguments.images)
        print(f"caches {disk_mb(folder / 'data/cache'):,.0f} MB", flush=True)
        command = [*harness, "report", "--study", "many", "--workspace", folder]
        measure("report", command, arguments.images)
        page_mb = (folder / "studies/many/report.html").stat().st_size / 1e6
        print(f"report.html {page_mb:.1f} MB, study {disk_mb(folder / 'studies'):,.0f} MB")
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder)


def generate(data: Path, n: int, n_copies: int) -> dict[str, str]:
    """Write the images and masks; the original of each copy, by stem."""
    for part in ("images", "masks"):
        (data / part).mkdir(parents=True)
    for index in range(n - n_copies):
        image, mask = draw(index)
        save(data, f"{index:06d}", image, mask)
    planted = {}
    for k in range(n_copies):
        original = k * ((n - n_copies) // n_copies)
        image, mask = draw(original)
        image, mask = change(image, mask, k % 5)
        # Names in a seeded order, so that a copy does not stand beside its original.
        stem = f"{original:06d}-copy"
        save(data, stem, image, mask)
        planted[stem] = f"{original:06d}"
    return planted


def draw(index: int) -> tuple[Array8, Array8]:
    """Coarse cells in colour, an ellipse to find, and noise: no two are alike."""
    rng = np.random.default_rng(index)
    n_cells = int(rng.integers(3, 9))
    cells = rng.integers(0, 256, (n_cells, n_cells, 3), np.uint8)
    image = cv2.resize(cells, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    centre = tuple(int(v) for v in rng.integers(12, 52, 2))
    axes = tuple(int(v) for v in rng.integers(5, 18, 2))
    angle, colour = int(rng.integers(180)), [int(v) for v in rng.integers(0, 256, 3)]
    cv2.ellipse(image, centre, axes, angle, 0, 360, colour, -1)
    cv2.ellipse(mask, centre, axes, angle, 0, 360, 255, -1)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8), mask


def change(image: Array8, mask: Array8, kind: int) -> tuple[Array8, Array8]:
    """Change an image as copies are changed."""
    match kind:
        case 0:
            size = (90, 90)
            return cv2.resize(image, size), cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        case 1:
            data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
            return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8), mask
        case 2:
            return np.clip(image.astype(int) + 8, 0, 255).astype(np.uint8), mask
        case 3:
            return np.clip(image * 1.05, 0, 255).astype(np.uint8), mask
    return np.rot90(image).copy(), np.rot90(mask).copy()


def save(data: Path, stem: str, image: Array8, mask: Array8) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, 92]
    assert cv2.imwrite(str(data / f"images/{stem}.jpg"), image, options)
    assert cv2.imwrite(str(data / f"masks/{stem}.png"), mask)


def measure(name: str, command: list[Any], n: int) -> str:
    """Run a command and print its seconds and peak memory; its standard output."""
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    cpu = usage.ru_utime + usage.ru_stime
    print(
        f"{name}: {seconds:,.0f} s ({cpu:,.0f} s of processor time), peak "
        f"{usage.ru_maxrss / 1e3:,.0f} MB, {usage.ru_maxrss * 1e3 / n:,.0f} bytes an image",
        flush=True,
    )
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{name}: ended with {os.waitstatus_to_exitcode(status)}\n{output}")
    return output


def check_copies(report: dict[str, Any], planted: dict[str, str]) -> None:
    """Print how many planted copies were named, and how many pairs are false alarms."""
    pairs = [
        tuple(Path(name).stem for name in line.split(" = "))
        for finding in report["findings"]
        if finding["topic"] in ("near copies", "exact copies")
        for line in finding["files"]
    ]
    named = {stem for pair in pairs for stem in pair if planted.get(stem) in pair}
    false = [pair for pair in pairs if not any(planted.get(stem) in pair for stem in pair)]
    print(f"copies: {len(named)} of {len(planted)}, {len(false)} false alarms", flush=True)


def disk_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()
