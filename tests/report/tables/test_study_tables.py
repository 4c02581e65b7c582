import csv
import math
from pathlib import Path

import pandas as pd
import pytest

from harness.config.study import TrialConfig
from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import Workspace
from harness.core.records import TrialFailure
from harness.report.tables.study_tables import (
    StudyTables,
    best_configuration,
    epochs_frame,
    leaderboard,
    load_study_tables,
    trials_frame,
    trials_in_state,
    write_trials_csv,
)
from harness.space.reading.load_space import space_from_dict
from harness.space.space import AllowedValues
from tests.report.studies import FIXED, Builder

LOSS = 0.1234567890123456  # needs all its digits


def test_load_study_reads_definition_and_every_trial(tables: StudyTables) -> None:
    assert tables.config.question == "Which encoder earns its memory?"
    assert tables.space == {"parameters": {}, "fixed": {"train.epochs": 4}}
    assert list(tables.trials["number"]) == list(range(8))
    assert list(tables.trials["epochs_done"]) == [4, 4, 2, 4, 4, 1, 4, 1]
    assert list(tables.trials["best_epoch"]) == [3, 4, 2, 4, 4, 1, 4, 1]
    assert tables.trials.loc[3, "value"] == tables.trials.loc[3, "best/dice_loss"] == LOSS


def test_null_and_absent_parameters_stay_apart(tables: StudyTables) -> None:
    column = list(tables.trials["model.options.decoder_attention_type"])
    assert column[0] is None and column[3] == "scse"
    assert isinstance(column[1], float) and math.isnan(column[1])


def test_epochs_are_one_row_per_trial_and_epoch(tables: StudyTables) -> None:
    of_two = tables.epochs[tables.epochs["number"] == 2]
    assert list(of_two["epoch"]) == [1, 2] and list(of_two["val/dice_loss"]) == [0.9, 0.89]
    assert len(tables.epochs) == 24


def test_load_study_names_the_nearest_study(tmp_path: Path) -> None:
    Builder(tmp_path, "encoders")
    with pytest.raises(
        ConfigError, match=r"no study encoder in .*/studies; did you mean encoders\?"
    ):
        load_study_tables(Workspace(tmp_path).study("encoder"))


def test_load_study_refuses_a_trial_copied_under_another_number(study: Builder) -> None:
    study.trial(0, [0.5])
    study.paths.trial(0).root.rename(study.paths.trial(4).root)
    with pytest.raises(
        ConfigError, match=r"0004.trial\.json: contains trial 0, not 4; was the folder copied\?"
    ):
        load_study_tables(study.paths)


@pytest.mark.parametrize("line", ['{"loss": 1}', "[]", '{"epoch": "x"}', "{"])
def test_load_study_names_a_damaged_epoch_log(study: Builder, line: str) -> None:
    study.trial(0, [0.5])
    study.paths.trial(0).epochs_jsonl.write_text(line + "\n")
    with pytest.raises(ConfigError, match=r"epochs\.jsonl(:1: damaged, not|: not an epoch log)"):
        load_study_tables(study.paths)


def test_load_study_without_trials_has_the_columns_and_no_rows(study: Builder) -> None:
    tables = load_study_tables(study.paths)
    assert tables.trials.empty and {"number", "state", "value"} <= set(tables.trials.columns)
    assert leaderboard(tables).empty
    assert best_configuration(tables) == ""


def test_leaderboard_ranks_complete_trials_only(tables: StudyTables) -> None:
    ranked = leaderboard(tables)
    assert list(ranked["number"]) == [3, 4, 6, 0, 1]
    assert list(ranked["rank"]) == [1, 2, 3, 4, 5]
    assert list(trials_in_state(tables, "pruned")["number"]) == [2, 7]
    assert list(trials_in_state(tables, "failed")["message"]) == ["train/loss is nan"]


def test_leaderboard_never_ranks_a_pruned_trial_however_good(study: Builder) -> None:
    study.trial(0, [0.5])
    study.trial(1, [0.001], state="pruned")
    study.trial(2, [0.002], state="running")
    assert list(leaderboard(load_study_tables(study.paths))["number"]) == [0]


def test_leaderboard_puts_the_highest_first_when_maximising(tmp_path: Path) -> None:
    study = Builder(tmp_path, config={"objective": {"metric": "val/dice", "direction": "maximize"}})
    for number, value in enumerate([0.2, 0.9, 0.5, 0.9]):
        study.trial(number, [1 - value], value=value)
    assert list(leaderboard(load_study_tables(study.paths))["number"]) == [1, 3, 2, 0]


def test_leaderboard_leaves_out_values_that_are_no_numbers(study: Builder) -> None:
    study.trial(0, [0.5])
    study.trial(1, [0.4])
    path = study.paths.trial(1).trial_json
    path.write_text(path.read_text().replace('"value": 0.4', '"value": -Infinity'))
    assert list(leaderboard(load_study_tables(study.paths))["number"]) == [0]


def test_best_configuration_can_be_pasted_into_a_space(tables: StudyTables) -> None:
    text = best_configuration(tables)
    assert text.startswith("# study tiny, trial 3: leading, not confirmed\nfixed:\n  # searched\n")
    fixed = strict_yaml.load_yaml(text, source="pasted").value["fixed"]
    assert list(fixed)[:5] == list(tables.parameters)
    wanted = TrialConfig.from_flat(FIXED | tables.record(3).params)
    assert TrialConfig.from_flat(fixed) == wanted
    legal = AllowedValues(options={"Unet": ["decoder_attention_type"]})
    space = space_from_dict({"fixed": fixed}, source="pasted", legal=legal)
    assert space.fixed == fixed


def test_best_configuration_is_that_of_the_choice_once_there_is_one(tables: StudyTables) -> None:
    choice = int(tables.trials["number"].iloc[0])
    text = best_configuration(tables, choice)
    assert text.startswith(f"# study {tables.paths.name}, trial {choice}: the choice after confirm")
    assert text.splitlines()[1:] != best_configuration(tables).splitlines()[1:]


def test_best_configuration_without_config_yaml_gives_the_searched_values(study: Builder) -> None:
    record = study.trial(0, [0.5], {"optim.lr": 1e-4, "model.arch": "FPN"})
    study.paths.trial(0).config_yaml.unlink()
    text = best_configuration(load_study_tables(study.paths))
    assert strict_yaml.load_yaml(text, source="x").value == {"fixed": record.params}


def test_trials_csv_gives_back_every_float(tables: StudyTables, tmp_path: Path) -> None:
    write_trials_csv(tables, tmp_path / "trials.csv")
    with (tmp_path / "trials.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["number"]) for row in rows] == list(range(8))
    for row, record in zip(rows, tables.records, strict=True):
        assert float(row["value"]) == record.value
        assert {k: float(row[k]) for k in record.best} == record.best
        assert {k: float(row[k]) for k in record.costs} == record.costs
    attention = [row["model.options.decoder_attention_type"] for row in rows]
    assert attention[:4] == ["None", "", "", "scse"]
    assert rows[2]["model.encoder_depth"] == "3"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_trials_csv_disarms_text_that_a_spreadsheet_would_run(study: Builder, start: str) -> None:
    message = f'{start}HYPERLINK("x")'
    study.trial(0, [], state="failed", failure=TrialFailure(cause="crashed", message=message))
    path = study.paths.trials_csv
    write_trials_csv(load_study_tables(study.paths), path)
    with path.open(newline="", encoding="utf-8") as handle:
        assert next(csv.DictReader(handle))["message"] == f"'{message}"


def test_whole_numbers_stay_whole_beside_absent_ones(study: Builder) -> None:
    records = [study.trial(0, [0.5], {"model.encoder_depth": 4}), study.trial(1, [0.5])]
    frame = trials_frame(records, epochs_frame(study.paths, records))
    assert frame["model.encoder_depth"][0] == 4
    assert isinstance(frame["model.encoder_depth"][0], int)
    assert pd.isna(frame["model.encoder_depth"][1])


def test_a_trial_without_an_epoch_has_no_best_one(study: Builder) -> None:
    records = [study.trial(0, [], state="running")]
    frame = trials_frame(records, epochs_frame(study.paths, records))
    assert frame["best_epoch"].isna().all() and frame["value"].isna().all()
    assert list(frame["epochs_done"]) == [0]


def test_only_numbers_of_an_epoch_line_are_taken(study: Builder) -> None:
    record = study.trial(0, [0.5])
    log = study.paths.trial(0).epochs_jsonl
    log.write_text('{"epoch": 1, "val/dice_loss": 0.5, "note": "<b>", "flag": true}\n')
    assert set(epochs_frame(study.paths, [record]).columns) == {"number", "epoch", "val/dice_loss"}
