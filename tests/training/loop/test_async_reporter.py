"""Epochs are written down and asked about while the next one is trained."""

import threading
from pathlib import Path
from typing import Any

import pytest

from harness.core.checkpoint_header import checkpoint_epoch
from harness.core.paths import TrialPaths
from harness.core.records import read_epochs
from harness.execution.protocol import Decision
from harness.training.loop.async_reporter import AsyncEpochReporter
from harness.training.loop.errors import DivergedError
from harness.training.loop.resume import EpochLine
from harness.training.loop.trainer import Trainer
from tests.training.conftest import Pictures
from tests.training.loop.test_fit import run

WAIT_S = 30.0


def test_nobody_waits_for_the_answer() -> None:
    may_answer = threading.Event()

    def asked(line: EpochLine) -> Decision:
        assert may_answer.wait(WAIT_S)
        return "prune"

    with AsyncEpochReporter(asked) as clerk:
        assert clerk.wait_decision() == "continue"  # nothing was asked
        written: list[int] = []
        clerk.write(lambda: written.append(1))
        clerk.report({"epoch": 1})
        clerk.wait_written()
        assert written == [1] and not clerk.should_stop()
        may_answer.set()
        assert clerk.wait_decision() == "prune" and clerk.should_stop()


def test_epoch_that_waits_behind_two_later_ones_is_reported() -> None:
    may_answer, reported = threading.Event(), list[float]()

    def report(line: EpochLine) -> Decision:
        reported.append(line["epoch"])
        assert may_answer.wait(WAIT_S)
        return "continue"

    with AsyncEpochReporter(report) as reporter:
        for epoch in (1, 2, 3):
            reporter.write(lambda: None)
            reporter.report({"epoch": epoch})
        may_answer.set()
        assert reporter._decision is not None
        assert reporter._decision.result(WAIT_S) == "continue"
    assert reported == [1, 2, 3]


def test_what_could_not_be_written_is_not_asked_about() -> None:
    asked: list[EpochLine] = []

    def full() -> None:
        raise OSError(28, "No space left on device")

    with AsyncEpochReporter(lambda line: "stop" if asked.append(line) else "continue") as clerk:
        clerk.write(full)
        clerk.report({"epoch": 1})
        for looked in (clerk.wait_written, clerk.wait_decision):
            with pytest.raises(OSError, match="No space left"):
                looked()
        with pytest.raises(OSError, match="No space left"):
            clerk.should_stop()
    assert asked == []


@pytest.mark.parametrize(("answer", "outcome"), [("prune", "pruned"), ("stop", "stopped")])
@pytest.mark.parametrize("waits", [True, False])
def test_answer_counts_before_what_goes_wrong_in_the_next_epoch(
    pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Decision,
    outcome: str,
    waits: bool,
) -> None:
    """Whether the answer to epoch 1 comes before or after epoch 2 has failed."""
    failed = threading.Event()
    epoch_of = Trainer.train_epoch

    def epoch(self: Trainer, n: int, halt: Any) -> dict[str, float]:
        if n == 1:
            return epoch_of(self, n, halt)
        failed.set()
        raise DivergedError("the training loss is nan")

    def asked(line: EpochLine) -> Decision:
        assert not waits or failed.wait(WAIT_S)
        return answer

    monkeypatch.setattr(Trainer, "train_epoch", epoch)
    result = run(pictures, tmp_path, asked)
    assert (result.outcome, result.best_epoch) == (outcome, 1)
    assert [line["epoch"] for line in read_epochs(TrialPaths(tmp_path))] == [1]
    assert TrialPaths(tmp_path).scores_csv.exists() is (outcome == "pruned")
    if waits:
        assert checkpoint_epoch(TrialPaths(tmp_path)) == 0, "a broken epoch is not saved"


def test_failure_after_the_answer_to_go_on_is_one(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch_of = Trainer.train_epoch

    def epoch(self: Trainer, n: int, halt: Any) -> dict[str, float]:
        if n == 1:
            return epoch_of(self, n, halt)
        raise DivergedError("the training loss is nan")

    monkeypatch.setattr(Trainer, "train_epoch", epoch)
    with pytest.raises(DivergedError, match="the training loss is nan"):
        run(pictures, tmp_path)


def test_training_goes_on_until_the_answer_is_there(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to epoch 1 comes when epoch 2 has begun; nothing of epoch 2 is left."""
    begun = threading.Event()
    steps = Trainer.train_epoch

    def noticed(self: Trainer, n: int, *args: object) -> dict[str, float]:
        if n == 2:
            begun.set()
        return steps(self, n, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "train_epoch", noticed)

    def asked(line: EpochLine) -> Decision:
        assert begun.wait(WAIT_S), "epoch 2 waited for the answer to epoch 1"
        return "prune"

    result = run(pictures, tmp_path, asked)
    assert result.outcome == "pruned" and result.best_epoch == 1
    assert [line["epoch"] for line in read_epochs(TrialPaths(tmp_path))] == [1]


def test_epoch_is_asked_about_once_its_checkpoint_is_there(
    pictures: Pictures, tmp_path: Path
) -> None:
    """With `checkpoint_s: 0` no epoch that was reported is trained again."""
    paths, seen = TrialPaths(tmp_path), []

    def asked(line: EpochLine) -> Decision:
        seen.append((line["epoch"], checkpoint_epoch(paths), len(read_epochs(paths))))
        return "continue"

    run(pictures, tmp_path, asked, train__checkpoint_s=0.0)
    assert seen and all(epoch == saved == logged for epoch, saved, logged in seen)
