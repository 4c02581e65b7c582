import pandas as pd

from harness.report.tables.frames import epochs_frame, trials_frame
from tests.report.studies import Builder


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
