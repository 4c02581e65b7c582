"""Train random configurations to their end, and record their learning curves for the replay.

    python -m benchmarks.record_curves --data dsb2018 --keep FOLDER [--networks 60]
    python -m benchmarks.record_curves --data camvid --keep FOLDER

`data/dsb2018` are nuclei, `data/camvid` street scenes, of which the road alone is segmented. The
configurations are drawn from `benchmarks/curves/space.yaml` at random and none is pruned, so a
table is fair to any sampler and pruner that is replayed on it. The result is written to
`benchmarks/curves/NAME-64px.jsonl`: one network a line, numbers only. FOLDER is a workspace: the
same command continues there.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from harness.core import strict_yaml
from harness.core.paths import StudyPaths
from harness.core.records import read_epochs, read_records
from harness.core.settings import flatten

HARNESS = str(Path(sys.executable).with_name("harness"))
CURVES = Path(__file__).with_name("curves")
ROAD = 3  # class of CamVid
N_TRAIN, N_VAL = 150, 70
RECORDED = ("val/dice_loss", "val/dice", "train/loss")
STUDY = "data: {root: %s}\nsplit: {lists: lists}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["dsb2018", "camvid"], required=True)
    parser.add_argument("--root", type=Path, help="folder of the data sets; data/ if not given")
    parser.add_argument("--keep", type=Path, required=True, help="workspace of the study")
    parser.add_argument("--networks", type=int, default=60)
    args = parser.parse_args()
    root = args.root or Path(os.environ.get("HARNESS_DATA_DIR", "data"))
    study = StudyPaths(args.keep / "studies" / args.data)
    data = args.keep / "data" / args.data
    if not study.study_yaml.exists():
        prepare(args.data, root / args.data, data, study)
    shutil.copy(CURVES / "space.yaml", args.keep / "curves.yaml")
    command = [HARNESS, "run", "--space", "curves.yaml", "--study", args.data, "--device", "cpu"]
    command += ["--sampler", "random", "--pruner", "none", "--trials", str(args.networks)]
    subprocess.run(command, cwd=args.keep, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    rows = list(read_curves(study))
    out = CURVES / f"{args.data}-64px.jsonl"
    out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{out}: {len(rows)} networks")


def prepare(name: str, source: Path, data: Path, study: StudyPaths) -> None:
    """Write images, binary masks, lists of a fixed selection, and study.yaml."""
    pairs = dict(zip(("train", "val"), _selected(name, source), strict=True))
    for folder in (data / "images", data / "masks", data / "lists"):
        folder.mkdir(parents=True, exist_ok=True)
    for role, of_role in pairs.items():
        for image, mask in of_role:
            (data / "images" / image.name).write_bytes(image.read_bytes())
            labels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
            binary = labels == ROAD if name == "camvid" else labels > 0
            cv2.imwrite(str(data / "masks" / f"{image.stem}.png"), binary.astype("uint8") * 255)
        stems = "".join(f"{image.stem}\n" for image, _ in of_role)
        (data / "lists" / f"{role}.txt").write_text(stems, encoding="utf-8")
    study.root.mkdir(parents=True, exist_ok=True)
    study.study_yaml.write_text(STUDY % data.resolve(), encoding="utf-8")


def _selected(name: str, source: Path) -> list[list[tuple[Path, Path]]]:
    """Evenly spaced pairs for training and for validation."""
    if name == "camvid":
        return [
            _evenly(_pairs(source / "train"), N_TRAIN),
            _evenly(_pairs(source / "val"), N_VAL),
        ]
    pairs = _evenly(_pairs(source), N_TRAIN + N_VAL)
    val = _evenly(pairs, N_VAL)
    return [[pair for pair in pairs if pair not in val], val]


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    masks = {path.stem: path for path in (folder / "masks").iterdir()}
    return [(path, masks[path.stem]) for path in sorted((folder / "images").iterdir())]


def _evenly(pairs: list[tuple[Path, Path]], n: int) -> list[tuple[Path, Path]]:
    return [pairs[i * len(pairs) // n] for i in range(min(n, len(pairs)))]


def read_curves(study: StudyPaths) -> Iterator[dict[str, Any]]:
    """Lines of the table: the complete trials with the settings that the space varies."""
    space = strict_yaml.load_yaml(study.space_yaml.read_text("utf-8"), source="space").value
    varied = [*space["parameters"]]
    for record in read_records(study):
        if record.state != "complete":
            continue
        paths = study.trial(record.number)
        text = paths.config_yaml.read_text(encoding="utf-8")
        config = flatten(strict_yaml.load_yaml(text, source=str(paths.config_yaml)).value)
        yield {
            "id": record.number,
            "config": {key: config[key] for key in varied},
            "epochs": [
                {key: round(line[key], 5) for key in RECORDED} for line in read_epochs(paths)
            ],
            "parameters": int(record.costs["cost/parameters"]),
        }


if __name__ == "__main__":
    main()
