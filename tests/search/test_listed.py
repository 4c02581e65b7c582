"""A list of rows as a study: one trial per row, in order, each exactly once."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from harness.config.study import SamplerConfig
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.records import read_records
from harness.execution.protocol import TrialTask
from harness.search.definition.definition import resolve_definition
from harness.search.sampling.distributions import suggest_values
from harness.search.sampling.sampler import IMPORTED_ATTR, SpaceSampler
from harness.space.space import AllowedValues
from tests.search.fakes import FakeExecutor, controller_of, definition_of

ROWS: list[dict[str, Any]] = [
    {"model.encoder_depth": 3, "optim.lr": 1e-3},
    {"model.encoder_depth": 5, "optim.lr": 1e-3, "optim.encoder_lr": 1e-4},
    {"model.encoder_depth": 3, "optim.lr": 1e-3},  # the same again: a row of its own
    {"model.encoder_depth": 4, "optim.lr": 1e-2, "data.image_size": [64, 96]},
]
LABELS = [{"n": str(i), "why": "=1+1"} for i in range(4)]
SPACE = {"rows": ROWS, "labels": LABELS, "fixed": {"train.epochs": 1}}


def curve(task: TrialTask) -> list[float]:
    return [0.1 * task.config.model.encoder_depth]


def run(root: Path, trials: int) -> list[TrialTask]:
    executor = FakeExecutor(curve)
    controller_of(root, definition_of(SPACE), executor).run(trials)
    return executor.started


def test_each_row_is_trained_once_in_order_and_the_study_ends(tmp_path: Path) -> None:
    started = run(tmp_path, 2) + run(tmp_path, 40)
    optim = [task.config.optim for task in started]
    assert [task.number for task in started] == [0, 1, 2, 3]
    assert [task.config.model.encoder_depth for task in started] == [3, 5, 3, 4]
    assert [one.encoder_lr for one in optim] == [None, 1e-4, None, None]
    assert started[3].config.data.height_width == (64, 96)
    assert run(tmp_path, 40) == []


def test_labels_and_keys_in_force_are_recorded(tmp_path: Path) -> None:
    run(tmp_path, 4)
    records = read_records(StudyPaths(tmp_path / "studies" / "s"))
    assert [record.labels for record in records] == LABELS
    assert [set(record.params) for record in records] == [set(row) for row in ROWS]


def test_trials_taken_over_from_another_study_use_up_no_row(tmp_path: Path) -> None:
    study = optuna.create_study()
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={IMPORTED_ATTR: "old/3"}))
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={IMPORTED_ATTR: "old/4"}))
    study.sampler = SpaceSampler(definition_of(SPACE).space, SamplerConfig(), 0)
    asked = [suggest_values(definition_of(SPACE).space, study.ask()) for _ in ROWS]
    assert asked == ROWS


def settled(tmp_path: Path, text: str, **options: Any) -> Any:
    file = tmp_path / "grid.csv"
    file.write_text(text)
    legal = AllowedValues(options={"Unet": ("decoder_use_norm",), "FPN": ("decoder_dropout",)})
    given: dict[str, Any] = {"overrides": {}, "fixed": {}, "legal": legal} | options
    return resolve_definition(StudyPaths(tmp_path / "studies" / "g"), space=file, **given)


def test_set_decides_what_a_row_may_hold(tmp_path: Path) -> None:
    text = "decoder_dropout\n0.1\n0.2\n"
    with pytest.raises(ConfigError, match=r"grid\.csv:2: row 1: .*unknown option of Unet"):
        settled(tmp_path, text)
    assert len(settled(tmp_path, text, fixed={"model.arch": "FPN"}).space.rows) == 2


def test_set_of_a_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--set: optim\.lr: searched by this space"):
        settled(tmp_path, "lr\n0.1\n", fixed={"optim.lr": 0.2})
