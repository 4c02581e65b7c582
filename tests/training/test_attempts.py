"""Training as one of several attempts: with less memory than hoped for, or given up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config.study import ObjectiveConfig
from harness.core.paths import TrialPaths
from harness.core.records import TrialResult, read_epochs
from harness.execution.protocol import Decision
from harness.training.loop.errors import StaleAttemptError, TooLargeError
from harness.training.loop.fit import fit_trial
from harness.training.loop.gradients import BatchGradients
from harness.training.loop.setup import TrainingInputs
from harness.training.worker.failure_causes import classify_failure
from tests.training.conftest import Pictures, settings
from tests.training.loop.test_attempt_guard import record

Line = dict[str, float]


def run(
    pictures: Pictures,
    paths: TrialPaths,
    on_epoch: Callable[[Line], Decision] = lambda _: "continue",
    *,
    attempt: int | None = None,
    micro_batch: int | None = None,
    told: list[int] | None = None,
    **changes: Any,
) -> TrialResult:
    config = settings(**changes)
    return fit_trial(
        TrainingInputs(
            config,
            pictures.cache(size=config.data.height_width),
            pictures.names,
            paths,
            seed=1,
            device=torch.device("cpu"),
            precision="fp32",
        ),
        objective=ObjectiveConfig(),
        on_epoch=on_epoch,
        attempt=attempt,
        micro_batch=micro_batch,
        on_micro_batch=(told if told is not None else []).append,
    )


def hold(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A device whose memory holds the training of so many images."""
    logits = BatchGradients._forward_logits

    def short(self: BatchGradients, inputs: torch.Tensor) -> torch.Tensor:
        if len(inputs) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits(self, inputs)

    monkeypatch.setattr(BatchGradients, "_forward_logits", short)


def test_training_goes_on_with_what_memory_holds(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(monkeypatch, 2)
    told: list[int] = []
    paths = TrialPaths(tmp_path / "0000")
    assert run(pictures, paths, told=told, train__epochs=2).outcome == "complete"
    assert told == [2] and len(read_epochs(paths)) == 2
    again: list[int] = []
    run(pictures, TrialPaths(tmp_path / "0001"), micro_batch=2, told=again, train__epochs=1)
    assert again == [], "the next attempt begins where this one has come to"


def test_training_that_does_not_fit_at_all_fails_for_want_of_memory(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(monkeypatch, 0)
    with pytest.raises(TooLargeError) as caught:
        run(pictures, TrialPaths(tmp_path / "0000"))
    assert classify_failure(caught.value).cause == "out_of_memory"


def test_given_up_attempt_writes_nothing_more(pictures: Pictures, tmp_path: Path) -> None:
    """Its successor has begun while it trained: log and checkpoint stay as that left them."""
    paths = TrialPaths(tmp_path / "0000")
    record(paths, 1)

    def succeed(line: Line) -> Decision:
        record(paths, 2)
        return "continue"

    with pytest.raises(StaleAttemptError):
        run(pictures, paths, succeed, attempt=1, train__checkpoint_s=0)
    assert [line["epoch"] for line in read_epochs(paths)] == [1]
    before = paths.checkpoint.read_bytes()
    with pytest.raises(StaleAttemptError):
        run(pictures, paths, attempt=1, train__checkpoint_s=0)
    assert paths.checkpoint.read_bytes() == before and not paths.scores_csv.exists()
    assert run(pictures, paths, attempt=2, train__checkpoint_s=0).outcome == "complete"
    assert [line["epoch"] for line in read_epochs(paths)] == [1, 2, 3]
