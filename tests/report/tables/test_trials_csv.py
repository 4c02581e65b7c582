from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.config.study import TrialConfig
from harness.core.paths import StudyPaths
from harness.report.tables.sheets import ranking_sheet
from harness.report.tables.study_tables import leaderboard, load_study_tables, trial_settings
from harness.report.tables.trials_csv import trials_as_csv_space, trials_as_dicts
from harness.search.definition.write_definition import write_definition
from harness.space.reading.load_space import read_space
from tests.search.fakes import FakeExecutor, controller_of, definition_of
from tests.space.spaces import LEGAL

SPACE: dict[str, Any] = {
    "parameters": {
        "model.arch": {"choices": ["UnetPlusPlus", "Linknet"]},
        "model.options.decoder_attention_type": {
            "choices": [None, "scse"],
            "when": {"model.arch": "UnetPlusPlus"},
        },
        "model.options.decoder_channels": {
            "choices": [[64, 32, 16]],
            "when": {"model.arch": "UnetPlusPlus"},
        },
        "optim.name": {"choices": ["sgd", "adam"]},
        "optim.momentum": {"low": 0.1, "high": 0.9, "when": {"optim.name": "sgd"}},
        "optim.lr": {"low": 1e-5, "high": 1e-2, "log": True},
        "data.image_size": {"choices": [64, [64, 96]]},
    },
    "fixed": {"train.epochs": 2, "model.encoder_depth": 3, "data.normalize": "none"},
}


def test_csv_of_trials_reads_back_as_a_space_of_the_same_configurations(tmp_path: Path) -> None:
    definition = definition_of(SPACE)
    write_definition(StudyPaths(tmp_path / "studies" / "s"), definition, [])
    controller = controller_of(tmp_path, definition, FakeExecutor(lambda task: [0.4, 0.3]))
    controller.run(12)
    tables = load_study_tables(StudyPaths(tmp_path / "studies" / "s"))
    file = tmp_path / "again.csv"
    file.write_text(trials_as_csv_space(tables), encoding="utf-8")
    space = read_space(file, legal=LEGAL)
    again = [TrialConfig.from_flat(row) for row in space.rows]
    first = [TrialConfig.from_flat(trial_settings(tables, one)) for one in tables.records]
    assert again == first and len(first) == 12
    assert len({config.model.arch for config in first}) == 2
    assert {config.optim.name for config in first} == {"sgd", "adam"}


def test_rows_with_labels_read_back_with_their_labels(tmp_path: Path) -> None:
    rows = [{"optim.lr": 1e-3, "data.augment": "none"}, {"optim.lr": 1e-2}]
    labels = [{"why": "=1+1", "n": "1"}, {"why": "'=x", "n": "-2"}]
    definition = definition_of({"rows": rows, "labels": labels, "fixed": {"train.epochs": 1}})
    write_definition(StudyPaths(tmp_path / "studies" / "s"), definition, [])
    controller = controller_of(tmp_path, definition, FakeExecutor(lambda task: [0.4]))
    controller.run(2)
    tables = load_study_tables(StudyPaths(tmp_path / "studies" / "s"))
    text = trials_as_csv_space(tables)
    assert ",=" not in text
    file = tmp_path / "again.csv"
    file.write_text(text, encoding="utf-8")
    assert list(read_space(file, legal=LEGAL).labels) == labels
    assert list(tables.trials["label.why"]) == ["=1+1", "'=x"]
    assert [plain["labels"] for plain in trials_as_dicts(tables)] == labels
    sheet = ranking_sheet(tables)
    assert [column.title for column in sheet.columns][1:4] == ["trial", "why", "n"]
    shown = {row[1].text: (row[2].text, row[3].text) for row in sheet.rows}
    assert shown == {"0": ("=1+1", "1"), "1": ("'=x", "-2")}
    assert list(leaderboard(tables).columns)[:4] == ["rank", "number", "label.why", "label.n"]


@pytest.mark.parametrize(
    ("parameters", "fixed", "drawn"),
    [
        ({"optim.name": {"choices": ["adamw", "sgd"]}, "optim.momentum": {"low": 0.1, "high": 0.9}},
         {}, {"optim.name": "adamw"}),
        ({"loss.dice": {"choices": [0, 1]}, "loss.focal": {"low": 0.1, "high": 1.0}},
         {"loss.bce": 0}, {"loss.dice": 0}),
    ],
)  # fmt: skip
def test_what_acted_in_no_trial_reads_back_as_the_same_training(
    parameters: dict[str, Any], fixed: dict[str, Any], drawn: dict[str, Any], tmp_path: Path
) -> None:
    """Only those trials are kept in which the other setting had the value beside which it idles."""
    definition = definition_of(SPACE | {"parameters": parameters, "fixed": fixed})
    write_definition(StudyPaths(tmp_path / "studies" / "s"), definition, [])
    controller_of(tmp_path, definition, FakeExecutor(lambda task: [0.4])).run(8)
    tables = load_study_tables(StudyPaths(tmp_path / "studies" / "s"))
    kept = [one for one in tables.records if one.params.items() >= drawn.items()]
    assert len(kept) > 1
    file = tmp_path / "again.csv"
    file.write_text(trials_as_csv_space(replace(tables, records=kept)), encoding="utf-8")
    again = [TrialConfig.from_flat(row) for row in read_space(file, legal=LEGAL).rows]
    assert [one.loss.weights for one in again] == [
        TrialConfig.from_flat(trial_settings(tables, one)).loss.weights for one in kept
    ]
    assert [one.optim.name for one in again] == ["adamw"] * len(kept)
