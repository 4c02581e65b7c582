"""Studies whose controllers are killed, alone or with their workers, end with the same results."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from harness.core.paths import Workspace
from harness.core.records import read_records
from harness.search.storage.storage import open_storage
from tests.search.killing import EPOCHS, TRIALS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CLOCKED = ("cost/seconds", "cost/peak_mb", "cost/ms_per_image", "attempt", "started", "ended")


def killed(place: Path, data: Path, kills: int, who: str) -> Workspace:
    """The workspace in which study `s` was killed so often, and then came to its end."""
    place.mkdir()
    command = [sys.executable, "-m", "tests.search.killing", str(place), str(data), str(kills), who]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return Workspace(place)


def table(workspace: Workspace) -> pd.DataFrame:
    """trials.csv as text, without columns that depend on the clock or on kills."""
    csv = workspace.study("s").trials_csv
    return pd.read_csv(csv, dtype=str, keep_default_na=False).drop(columns=[*CLOCKED])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, polyps: Path) -> pd.DataFrame:
    """Table of a study without kills."""
    return table(killed(tmp_path_factory.mktemp("whole") / "w", polyps, 0, "nobody"))


@pytest.mark.parametrize(("who", "kills"), [("controller", 10), ("all", 5)])
def test_table_is_the_same_to_the_last_digit(
    tmp_path: Path, polyps: Path, whole: pd.DataFrame, who: str, kills: int
) -> None:
    workspace = killed(tmp_path / who, polyps, kills, who)
    pd.testing.assert_frame_equal(table(workspace), whole)
    paths = workspace.study("s")
    records = read_records(paths)
    assert [record.state for record in records] == ["complete"] * TRIALS
    assert sum(record.attempt - 1 for record in records) > kills / 2, "trials were continued"
    for record in records:
        lines = paths.trial(record.number).epochs_jsonl.read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [*range(1, EPOCHS + 1)]
    storage = open_storage(workspace.optuna_db)
    (study,) = storage.get_all_studies()
    assert len(storage.get_all_trials(study._study_id)) == TRIALS
