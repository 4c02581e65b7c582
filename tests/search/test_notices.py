"""Real trainings that receive a preemption notice, run out of disk, or are moved elsewhere."""

import os
import re
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.api import Study, run_study
from harness.config.progress import LineProgress, ProgressReporter
from harness.core.records import TrialRecord, read_epochs
from harness.execution.local_executor import LocalExecutor
from harness.execution.protocol import EpochReport, Event
from tests.conftest import TINY
from tests.execution.forking import forking
from tests.search.disks import fill, mounted
from tests.search.killing import NETWORK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CLOCKED = ("time_ms", "seconds")
EXECUTOR = "harness.search.run.run.LocalExecutor"


def study(
    workspace: Path, data: Path, trials: int, epochs: int, progress: ProgressReporter | None = None
) -> Study:
    workspace.mkdir(exist_ok=True)
    parts = workspace / "mine.py"
    parts.write_text(NETWORK, encoding="utf-8")
    fixed = {"model.arch": "dot", "data.image_size": 32, "train.batch_size": 8}
    return run_study(
        "s",
        space={"parameters": TINY["parameters"], "fixed": fixed | {"train.epochs": epochs}},
        data=data,
        trials=trials,
        parts=parts,
        pruner="none",
        device="cpu",
        workspace=workspace,
        progress=progress,
    )


def curve(done: Study, number: int) -> list[dict[str, Any]]:
    lines = read_epochs(done.paths.trial(number))
    return [{key: line[key] for key in line if key not in CLOCKED} for line in lines]


def undisturbed(place: Path, data: Path, trials: int, epochs: int) -> Study:
    with forking(place) as module, pytest.MonkeyPatch.context() as patch:
        patch.setattr(EXECUTOR, partial(LocalExecutor, module=module))
        return study(place / "whole", data, trials, epochs)


class NoticedExecutor(LocalExecutor):
    """Sends the worker a signal after an epoch; `notices` maps epochs to signals."""

    def __init__(self, *args: Any, notices: dict[int, int], **options: Any) -> None:
        super().__init__(*args, **options)
        self._notices = notices

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        event = super().next_event(timeout_s)
        if isinstance(event, EpochReport) and event.epoch in self._notices:
            for worker in self._workers_of(event.number):
                assert worker._process is not None
                os.kill(worker._process.pid, self._notices.pop(event.epoch))
        return event


def test_notice_costs_the_step(tmp_path: Path, polyps: Path) -> None:
    """`checkpoint_s` is 30: without saving at the notice every epoch would be trained again."""
    notices = {3: signal.SIGUSR1, 6: signal.SIGTERM}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EXECUTOR, partial(NoticedExecutor, notices=notices))
        done = study(tmp_path / "noticed", polyps, 1, 10)
    assert not notices, "both were sent"
    (record,) = done.tables.records
    assert (record.state, record.attempt) == ("complete", 3)
    times = [line["time_ms"] for line in read_epochs(done.paths.trial(0))]
    assert times == sorted(times) and len(times) == 10
    assert curve(done, 0) == curve(study(tmp_path / "whole", polyps, 1, 10), 0)


class Filling(LineProgress):
    """Fills the disk after two epochs; frees it once the study reports that it waits."""

    def __init__(self, disk: Path) -> None:
        super().__init__()
        self._disk = disk
        self.ballast: Path | None = None
        self.said: list[str] = []

    def epoch(self, record: TrialRecord, metrics: dict[str, float]) -> None:
        if metrics["epoch"] == 2 and self.ballast is None:
            self.ballast = fill(self._disk)

    def stage(self, text: str) -> None:
        super().stage(text)
        self.said.append(text)
        if text.startswith("disk full") and self.ballast is not None:
            self.ballast.unlink()


def test_worker_on_a_full_disk_loses_nothing(
    tmp_path: Path, polyps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.search.run.disk_space.POLL_S", 0.01)
    with mounted(tmp_path / "disk", "64m") as disk, forking(tmp_path) as module:
        monkeypatch.setattr(EXECUTOR, partial(LocalExecutor, module=module))
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "studies").symlink_to(disk)
        filling = Filling(disk)
        done = study(tmp_path / "full", polyps, 2, 6, progress=filling)
        whole = study(tmp_path / "whole", polyps, 2, 6)
        assert any(re.match("disk full: trial 0: OSError.*No space left", s) for s in filling.said)
        assert "there is disk space again: continuing" in filling.said
        assert [record.state for record in done.tables.records] == ["complete"] * 2
        assert [record.attempt for record in done.tables.records] == [2, 1]
        assert [curve(done, n) for n in range(2)] == [curve(whole, n) for n in range(2)]


def test_copied_folder_continues_elsewhere(
    tmp_path: Path, polyps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the study's folder is copied; the images lie somewhere else there."""
    whole = undisturbed(tmp_path, polyps, 4, 2)
    with forking(tmp_path / "whole") as module, pytest.MonkeyPatch.context() as patch:
        patch.setattr(EXECUTOR, partial(LocalExecutor, module=module))
        begun = study(tmp_path / "here", polyps, 2, 2)
        there = tmp_path / "there"
        shutil.copytree(begun.paths.root, there / "studies" / "s")
        images = shutil.copytree(polyps, there / "elsewhere")
        done = study(there, images, 4, 2)
    assert "lacked 2 trials: restored from the trial folders" in capsys.readouterr().err
    assert [facts(r) for r in done.tables.records] == [facts(r) for r in whole.tables.records]
    assert [curve(done, n) for n in range(4)] == [curve(whole, n) for n in range(4)]
    assert done.tables.config.data.root == str(images)


def facts(record: TrialRecord) -> tuple[Any, ...]:
    return record.number, record.state, record.params, record.value, record.best_epoch, record.seed
