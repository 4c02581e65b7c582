"""The test role is sealed: once a split exists, nothing but `harness test` opens its files."""

import shutil
from pathlib import Path

import pytest

from harness.core import strict_yaml
from harness.core.paths import StudyPaths
from harness.core.records import read_records
from harness.data.splits.splits import read_split
from tests.conftest import TINY, harness_command, in_every_process

pytestmark = pytest.mark.slow

# Installed into every process through PYTHONPATH: notes every file that is opened, by whomever.
WATCH = """
import os, sys
import cv2
log = os.environ["OPEN_LOG"]
handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def note(path):
    os.write(handle, (str(path) + "\\n").encode("utf-8", "replace"))
sys.addaudithook(lambda event, arguments: note(arguments[0]) if event == "open" else None)
reader = cv2.imread
def imread(path, *others):
    note(path)
    return reader(path, *others)
cv2.imread = imread
note("process " + str(os.getpid()))
"""


def command(workspace: Path, *words: str, **env: str) -> None:
    done = harness_command(workspace, *words, **env)
    assert done.returncode == 0, done.stderr


def test_run_and_report_need_no_test_file_and_open_none(workspace: Path, polyps: Path) -> None:
    data = workspace / "data" / "mine"
    shutil.copytree(polyps, data)
    space = workspace / "tiny.yaml"
    space.write_text(strict_yaml.dump_yaml(TINY), encoding="utf-8")
    run = ["run", "--space", "tiny.yaml", "--data", "mine"]
    command(workspace, *run, "--trials", "1")
    paths = StudyPaths(workspace / "studies" / "tiny")
    rows = read_split(paths.split_csv)
    sealed = [data / name for row in rows if row.role == "test" for name in (row.image, row.mask)]
    seen = [data / row.image for row in rows if row.role == "val"]
    assert len(sealed) >= 2

    log = workspace / "opened.log"
    env = in_every_process(workspace / "watch", WATCH) | {"OPEN_LOG": str(log)}
    shutil.rmtree(workspace / "data" / "cache")
    command(workspace, *run, "--trials", "2", **env)
    command(workspace, "report", "--study", "tiny", **env)
    opened = log.read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("process") for line in opened) >= 3  # run, worker, report
    names = {Path(line).name for line in opened}
    assert {path.name for path in seen} <= names, "the watch sees what is read"
    assert not {str(path) for path in sealed} & set(opened)
    assert not {path.name for path in sealed} & names

    for path in sealed:
        path.unlink()
    shutil.rmtree(workspace / "data" / "cache")
    command(workspace, *run, "--trials", "3")
    command(workspace, "report", "--study", "tiny")
    assert [record.state for record in read_records(paths)] == ["complete"] * 3


def test_confirm_needs_no_test_file_and_opens_none(workspace: Path, polyps: Path) -> None:
    data = workspace / "data" / "mine"
    shutil.copytree(polyps, data)
    tiny = TINY | {"fixed": {**TINY["fixed"], "train.epochs": 1}}
    (workspace / "tiny.yaml").write_text(strict_yaml.dump_yaml(tiny), encoding="utf-8")
    command(workspace, "run", "--space", "tiny.yaml", "--data", "mine", "--trials", "1")
    paths = StudyPaths(workspace / "studies" / "tiny")
    rows = read_split(paths.split_csv)
    sealed = [data / name for row in rows if row.role == "test" for name in (row.image, row.mask)]
    shutil.rmtree(workspace / "data" / "cache")
    for path in sealed:
        path.unlink()

    log = workspace / "opened.log"
    env = in_every_process(workspace / "watch", WATCH) | {"OPEN_LOG": str(log)}
    command(workspace, "confirm", "--study", "tiny", "--top", "1", "--folds", "2", **env)
    names = {Path(line).name for line in log.read_text(encoding="utf-8").splitlines()}
    used = {Path(row.image).name for row in rows if row.role != "test"}
    assert used <= names, "the watch sees what is read"
    assert not {path.name for path in sealed} & names
    records = read_records(paths.confirm)
    assert [record.state for record in records] == ["complete"] * 2
    assert all(paths.confirm.trial(record.number).model.is_dir() for record in records)
