"""Every sort of bad or odd file: read rightly, or refused in one line; quickly, and in little."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.config.data import StudyDataConfig
from harness.core.errors import DataError
from harness.data.datasets.sources import open_dataset
from tests.data.make import folder
from tests.data.odd_files import Case, all_cases, outcome, pairs, read_odd_pair

ROOT = Path(__file__).resolve().parents[2]
CASES = all_cases()

READ_ALL = """
import re, sys, tempfile
from pathlib import Path
from tests.data.odd_files import all_cases, outcome
cases = all_cases()
folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
def peak_kb():  # getrusage would count what the parent had when it forked
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak_kb()
for case in cases:
    outcome(lambda: case.read(folder))
print(before, peak_kb())
"""


def test_battery_is_large_and_its_names_differ() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 80


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", CASES, ids=[ascii(case.name)[1:-1] for case in CASES])
def test_odd_file_is_read_rightly_or_refused_in_one_line(tmp_path: Path, case: Case) -> None:
    result = outcome(lambda: case.read(tmp_path))
    if isinstance(case.expected, str):
        assert isinstance(result, str), result
        assert result.startswith(f"{tmp_path / case.name}: ") and "\n" not in result
        assert re.search(case.expected, result)
    else:
        assert result == case.expected


@pytest.mark.parametrize(("name", "image", "mask", "error"), pairs(), ids=[p[0] for p in pairs()])
def test_pair_that_does_not_fit_is_refused(
    tmp_path: Path, name: str, image: bytes, mask: bytes, error: str
) -> None:
    result = outcome(lambda: read_odd_pair(tmp_path, image, mask))
    assert isinstance(result, str) and re.search(error, result) and "\n" not in result


def test_whole_battery_stays_below_a_gigabyte(tmp_path: Path) -> None:
    """Also the files that are made for it are in this process; the reading comes on top."""
    code = [sys.executable, "-W", "ignore", "-c", READ_ALL, str(tmp_path)]
    done = subprocess.run(code, capture_output=True, text=True, check=True, cwd=ROOT)
    before, most = (int(number) for number in done.stdout.split())
    assert before <= most < 1_000_000  # kB


def test_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 2)
    (tmp_path / "secret.png").write_bytes((root / "images" / "000.png").read_bytes())
    (root / "images" / "000.png").unlink()
    (root / "images" / "000.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match=r"000\.png': a link that leaves the folder"):
        open_dataset(root, StudyDataConfig(), max_pixels=1e6)


@pytest.mark.timeout(240)
def test_damaged_bytes_never_do_anything_else(tmp_path: Path) -> None:
    """1500 files with random bytes put in: read, or refused in one line."""
    rng = np.random.default_rng(0)
    kinds = [case for case in CASES if case.mask_for is None and isinstance(case.data, bytes)]
    sound = [case for case in kinds if not isinstance(case.expected, str)]
    results = []
    for index in range(1500):
        case = sound[index % len(sound)]
        data = bytearray(case.data)
        for at in rng.integers(4, len(data), 4):
            data[at] = rng.integers(0, 256)
        damaged = dataclasses.replace(case, name=f"{index}.jpg", data=bytes(data))
        results.append(outcome(lambda damaged=damaged: damaged.read(tmp_path)))
    refused = [result for result in results if isinstance(result, str)]
    assert 0 < len(refused) < 1500 and not any("\n" in result for result in refused)
