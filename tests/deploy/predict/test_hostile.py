"""Hostile files at the command: a mask of the right size, or one sentence."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests.deploy.hostile_files import HostileFile, hostile_files
from tests.deploy.made_study import made_study

ROOT = Path(__file__).resolve().parents[3]
FILES = hostile_files()
IDS = [ascii(file.name)[1:40] for file in FILES]
NO_INPUTS = ("folder.jpg", "nothing.jpg", "..png")  # a folder, absent, hidden


class HostileRun:
    """One run of the command over all files, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        made_study(folder / "ws")
        self.out = folder / "ws" / "out"
        for k, file in enumerate(FILES):
            file.write(folder / "in" / str(k))
        words = ["predict", "--study", "made", str(folder / "in"), "--out", "out"]
        code = [sys.executable, "-W", "ignore", "-m", "harness", *words]
        environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
        self.result = subprocess.run(
            code, cwd=folder / "ws", env=environment, capture_output=True, text=True, check=False
        )
        with (self.out / "predictions.csv").open(encoding="utf-8", newline="") as handle:
            self.rows = {row["file"].split("/")[0]: row for row in csv.DictReader(handle)}


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> HostileRun:
    return HostileRun(tmp_path_factory.mktemp("hostile"))


@pytest.mark.slow
def test_run_goes_on_to_its_end_without_a_traceback(hostile_run: HostileRun) -> None:
    result = hostile_run.result
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr and "internal error" not in result.stderr
    assert len(hostile_run.rows) == len(FILES) - len(NO_INPUTS) >= 100


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(FILES)), ids=IDS)
def test_file_has_its_mask_or_one_sentence(hostile_run: HostileRun, number: int) -> None:
    file = FILES[number]
    row = hostile_run.rows.get(str(number))
    if row is None:
        assert file.name in NO_INPUTS
        return
    lines = [line for line in hostile_run.result.stderr.splitlines() if _names(line, number)]
    if row["error"]:
        assert len(lines) == 1
        assert row["error"] in lines[0]
        assert _is_expected(file, row["error"])
    else:
        assert lines == []
        assert (int(row["height"]), int(row["width"])) == file.expected
        (mask,) = (hostile_run.out / "masks" / str(number)).rglob("*.png")
        assert cv2.imread(str(mask), cv2.IMREAD_UNCHANGED).shape == file.expected


def _names(line: str, number: int) -> bool:
    return re.match(rf"'?{number}/", line) is not None


def _is_expected(file: HostileFile, error: str) -> bool:
    if not Path(file.name).name.isprintable():
        return error == "its name holds control characters; rename it"
    if file.name in ("pipe.jpg", "device.jpg"):
        return error == "not a regular file"
    if file.name == "dangling.jpg":
        return error.startswith("a link that leads nowhere")
    return isinstance(file.expected, str) and re.search(file.expected, error) is not None
