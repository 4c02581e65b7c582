import json
from pathlib import Path
from typing import Any

import pytest

from harness.core import files
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.records import (
    TrialFailure,
    TrialRecord,
    read_epochs,
    read_record,
    read_records,
    write_record,
)


def record(number: int, **more: Any) -> TrialRecord:
    values = {"state": "complete", "params": {}, "distributions": {}, "epochs": 2, "seed": 0}
    return TrialRecord(study="s", number=number, **(values | more))


def test_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = record(
        7,
        state="failed",
        params={"optim.lr": 0.1 + 0.2, "train.compile": True, "model.options.x": None, "n": 1},
        best={"best/dice": 1 / 3},
        value=2 / 3,
        failure=TrialFailure(cause="diverged", message="loss is nan"),
    )
    paths = TrialPaths(tmp_path / "0007")
    write_record(paths, written)
    read = read_record(paths.trial_json)
    assert read == written
    assert read.params["train.compile"] is True and read.params["n"] == 1
    assert json.loads(paths.trial_json.read_text())["format"] == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 2}', '{"study": "s", "number": 1, "state": "done"}']
)
def test_file_that_is_no_record_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "trial.json").write_text(text)
    with pytest.raises(ConfigError, match=r"trial\.json: not a trial record"):
        read_record(tmp_path / "trial.json")


def test_unknown_fields_are_refused(tmp_path: Path) -> None:
    value = record(1).model_dump(mode="json") | {"extra": 1}
    files.write_json(tmp_path / "trial.json", value)
    with pytest.raises(ConfigError, match="extra"):
        read_record(tmp_path / "trial.json")


def test_records_of_a_study_come_in_order_of_number(tmp_path: Path) -> None:
    study = StudyPaths(tmp_path)
    for number in (10, 2, 10_000):
        write_record(study.trial(number), record(number))
    (study.trials / "0003").mkdir()  # begun, nothing written yet
    (study.trials / "notes").mkdir()
    (study.trials / "notes" / "trial.json").write_text("{}")
    assert [one.number for one in read_records(study)] == [2, 10, 10_000]


def test_repeated_epoch_counts_once_by_its_last_line(tmp_path: Path) -> None:
    paths = TrialPaths(tmp_path / "0000")
    for epoch, loss in ((1, 0.9), (2, 0.8), (3, 0.7), (2, 0.6)):
        files.append_jsonl(paths.epochs_jsonl, {"epoch": epoch, "val/dice_loss": loss})
    assert read_epochs(paths) == [
        {"epoch": 1, "val/dice_loss": 0.9},
        {"epoch": 2, "val/dice_loss": 0.6},
        {"epoch": 3, "val/dice_loss": 0.7},
    ]


def test_epochs_of_a_trial_that_has_none_are_none(tmp_path: Path) -> None:
    assert read_epochs(TrialPaths(tmp_path / "0000")) == []
