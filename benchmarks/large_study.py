"""Peak memory of a study on pictures of 10,000 x 10,000 pixels, and what is decoded entirely.

    python -m benchmarks.large_study [--pictures 10] [--side 10000]

Half of the generated TIFFs are tiled, the others are striped and compressed by LZW. Inspection, one
trial of one epoch with windows of 1,024 px at an eighth of the resolution, a held-out test and
predictions run as commands of their own. For each the script prints the largest peak of resident
memory of a process, the peak of the sum over its processes, and how many pictures were decoded
entirely in any of them.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Runs in every process before anything else: notes each picture of which all pixels are read.
WATCH = """
import os
from harness.data.files import tiff
log = os.open(os.environ["DECODE_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
read = tiff.TiffReader.read
def watched(self, top, left, height, width):
    layout = self._layout
    if (height, width) == (layout.height, layout.width) and height * width > 1 << 24:
        os.write(log, b"entirely\\n")
    os.write(log, b"window\\n")
    return read(self, top, left, height, width)
tiff.TiffReader.read = watched
"""
TRIAL = {
    "model.arch": "Unet",
    "model.encoder_name": "mobilenet_v2",
    "model.encoder_weights": "null",
    "model.encoder_depth": "3",
    "data.tile.size": "128",
    "data.tile.scale": "0.125",
    "train.epochs": "1",
    "train.batch_size": "4",
}
_POLL_S = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("--side", type=int, default=10_000, help="pixels")
    parser.add_argument("--keep", type=Path, help="folder to work in, which stays")
    parser.add_argument("--skip", type=int, default=0, help="commands that are left out")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp())
    try:
        if not (folder / "pictures").exists():
            sizes = ["--pictures", str(options.pictures), "--side", str(options.side)]
            step = ["--step", "generate", "--folder", str(folder / "pictures")]
            command = [sys.executable, "-m", "benchmarks.large_pictures", *step, *sizes]
            subprocess.run(command, check=True)
        run_commands(folder, options.skip)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def run_commands(folder: Path, n_skipped: int) -> None:
    """Run all but the first commands in a workspace, and print a line for each."""
    fixed = [word for key, value in TRIAL.items() for word in ("--set", f"{key}={value}")]
    data = str(folder / "pictures" / "data")
    images = str(folder / "pictures" / "data" / "images")
    (folder / "watch").mkdir(exist_ok=True)
    (folder / "watch" / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    commands = {
        "inspect": ["data", "inspect", data],
        "run, one trial": [
            "run", "--study", "large", "--data", data, "--trials", "1",
            "--device", "cpu", *fixed,
        ],
        "test": ["test", "--study", "large", "--trial", "0", "--device", "cpu"],
        "test --tta": ["test", "--study", "large", "--trial", "0", "--tta", "--device", "cpu"],
        "predict": ["predict", "--study", "large", images, "--out", "masks", "--device", "cpu"],
        "predict --tta --probabilities": [
            "predict", "--study", "large", images, "--out", "flipped", "--tta", "--probabilities",
            "--device", "cpu",
        ],
    }  # fmt: skip
    for name, words in list(commands.items())[n_skipped:]:
        report(name, words, folder)


def report(name: str, words: list[str], folder: Path) -> None:
    """Run one command, and print its time, memory and decoded pictures."""
    log = folder / "decoded.log"
    log.unlink(missing_ok=True)
    paths = [str(folder / "watch"), str(Path(__file__).parents[1])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "DECODE_LOG": str(log)}
    start = time.perf_counter()
    with (folder / "output.log").open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", *words],
            cwd=folder,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        largest, total = watch_memory(process)
    seconds = time.perf_counter() - start
    lines = log.read_text(encoding="ascii").splitlines() if log.exists() else []
    print(
        f"{name:30} exit {process.returncode}  {seconds:6.0f} s  largest process "
        f"{largest * 1024 / 1e9:5.2f} GB  all together {total * 1024 / 1e9:5.2f} GB  "
        f"decoded entirely {lines.count('entirely')} of {lines.count('window')} reads",
        flush=True,
    )
    if process.returncode:
        print((folder / "output.log").read_text(encoding="utf-8")[-3000:])
        sys.exit(1)


def watch_memory(process: "subprocess.Popen[bytes]") -> tuple[int, int]:
    """Largest VmHWM of a process of the tree, and largest sum of their VmRSS, in kB."""
    largest = total = 0
    while process.poll() is None:
        resident = 0
        for number in descendants(process.pid):
            sizes = memory_lines(number)
            largest = max(largest, sizes.get("VmHWM", 0))
            resident += sizes.get("VmRSS", 0)
        total = max(total, resident)
        time.sleep(_POLL_S)
    return largest, total


def descendants(number: int) -> Iterator[int]:
    """Numbers of a process and of all below it."""
    yield number
    with suppress(OSError):
        for tasks in Path(f"/proc/{number}/task").iterdir():
            for child in (tasks / "children").read_text(encoding="ascii").split():
                yield from descendants(int(child))


def memory_lines(number: int) -> dict[str, int]:
    """Sizes in kB by their names in /proc/<number>/status; empty if the process has ended."""
    with suppress(OSError):
        text = Path(f"/proc/{number}/status").read_text(encoding="ascii", errors="replace")
        rows = (line.split() for line in text.splitlines() if line.startswith("Vm"))
        return {name.rstrip(":"): int(size) for name, size, *_ in rows}
    return {}


if __name__ == "__main__":
    main()
