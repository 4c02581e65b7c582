"""Bars in a notebook that has ipywidgets, lines everywhere else."""

import sys
from types import ModuleType
from typing import Any

import pytest

from harness.api import notebook_progress
from harness.api.notebook_progress import NotebookProgress, default_progress
from harness.config.progress import LineProgress
from harness.config.study import TrialConfig
from harness.core.records import TrialRecord

RECORD = TrialRecord(
    study="s", number=3, state="running", params={}, distributions={}, epochs=4, seed=0
)


class Bar:
    def __init__(self, total: int | None, description: str, leave: bool) -> None:
        self.total, self.description, self.leave = total, description, leave
        self.n = 0
        self.closed = 0
        self.postfix: dict[str, str] = {}

    def refresh(self) -> None: ...

    def set_postfix(self, postfix: dict[str, str]) -> None:
        self.postfix = postfix

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    opened: list[Bar] = []

    def open_bar(*, total: int | None, description: str, leave: bool = False) -> Bar:
        opened.append(Bar(total, description, leave))
        return opened[-1]

    monkeypatch.setattr(notebook_progress, "_open_bar", open_bar)
    return opened


@pytest.mark.parametrize(
    ("kernel", "widgets", "expected"),
    [
        (False, True, LineProgress),
        (True, False, LineProgress),
        (True, True, NotebookProgress),
    ],
)
def test_bars_need_a_kernel_and_widgets(
    kernel: bool,
    widgets: bool,
    expected: type[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    if kernel:
        monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    spec = object() if widgets else None
    monkeypatch.setattr(notebook_progress, "find_spec", lambda name: spec)
    progress = default_progress()
    assert type(progress) is expected
    progress.stage("device cpu")
    written = capsys.readouterr()
    assert (written.out, written.err) == (("device cpu\n", "") if kernel else ("", "device cpu\n"))


def test_study_and_trial_have_bars(bars: list[Bar], capsys: pytest.CaptureFixture[str]) -> None:
    progress = NotebookProgress()
    progress.trials(2, 5)
    progress.began(RECORD, TrialConfig(), continued=False)
    progress.epoch(RECORD, {"epoch": 2, "val/dice_loss": 0.25, "val/dice": 0.75})
    study, trial = bars
    assert (study.total, study.n, study.leave) == (5, 2, True)
    assert (trial.total, trial.n, trial.leave) == (4, 2, False)
    assert trial.description.startswith("trial 3  ")
    assert trial.postfix == {"val/dice_loss": "0.2500", "val/dice": "0.7500"}
    progress.ended(RECORD.model_copy(update={"state": "complete", "value": 0.25}), None)
    progress.trials(5, 5)
    assert (trial.closed, study.closed, study.n) == (1, 1, 5)
    assert "trial 3  complete" in capsys.readouterr().out


def test_long_task_has_a_bar_until_it_is_done(bars: list[Bar]) -> None:
    update = NotebookProgress().bar("reading 9 pairs")
    update(3, None)
    (bar,) = bars
    assert (bar.description, bar.total, bar.n, bar.closed) == ("reading 9 pairs", None, 3, 0)
    update(9, 9)
    assert (bar.total, bar.n, bar.closed) == (9, 9, 1)


def test_close_ends_every_bar(bars: list[Bar]) -> None:
    progress = NotebookProgress()
    progress.trials(0, 5)
    progress.began(RECORD, TrialConfig(), continued=False)
    progress.close()
    assert [bar.closed for bar in bars] == [1, 1]
