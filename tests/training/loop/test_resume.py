"""A training that is interrupted and continued gives the numbers of one that is not."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harness.config.study import ModelConfig
from harness.core.checkpoint_header import checkpoint_epoch
from harness.core.paths import TrialPaths
from harness.core.records import TrialResult, read_epochs
from harness.models.build import build_network
from harness.training.loop import network_setup, training_run
from harness.training.loop.checkpoint import CheckpointWriter, read_checkpoint
from harness.training.loop.trainer import Trainer
from tests.training.conftest import Pictures
from tests.training.loop.test_fit import Line, answering, run

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout": {
        "model__arch": "FPN",
        "model__options": {"decoder_pyramid_channels": 16},
        "data__augment": "strong",
    },
    "average": {"train__ema_decay": 0.9, "optim__warmup_epochs": 1.0},
    "momentum": {"optim__name": "sgd", "optim__schedule": "onecycle"},
    "adam": {"optim__name": "adam", "optim__schedule": "poly", "optim__warmup_epochs": 2.5},
    "frozen": {"train__freeze_encoder_epochs": 2, "optim__encoder_lr_scale": 0.1},
    "per image": {"data__normalize": "per_image", "loss__focal": 1.0},
}


def numbers(folder: Path) -> list[Line]:
    """The log without what the clock decides."""
    log = read_epochs(TrialPaths(folder))
    return [{k: v for k, v in line.items() if k not in ("time_ms", "seconds")} for line in log]


def lasting(result: TrialResult) -> tuple[object, ...]:
    timed = ("cost/seconds", "cost/peak_mb", "cost/ms_per_image")
    costs = {k: v for k, v in result.costs.items() if k not in timed}
    return result.outcome, result.best_epoch, result.value, result.best, costs


def leftovers(folder: Path) -> dict[str, bytes]:
    """Every file of a finished trial, log and checkpoints aside."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent != folder
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_stopped_training_goes_on_bit_by_bit(
    pictures: Pictures, tmp_path: Path, variant: str
) -> None:
    changes = {"train__epochs": 4, **VARIANTS[variant]}
    whole = run(pictures, tmp_path / "whole", **changes)
    parted = tmp_path / "parted"
    assert run(pictures, parted, answering("continue", "stop"), **changes).outcome == "stopped"
    assert run(pictures, parted, answering("continue", "continue", "stop"), **changes).best_epoch
    again = run(pictures, parted, **changes)
    assert numbers(parted) == numbers(tmp_path / "whole")
    assert lasting(again) == lasting(whole)
    assert leftovers(parted) == leftovers(tmp_path / "whole")


def halting(*after: int) -> Callable[[], bool]:
    """Says stop when asked for so many times in all; it is asked after steps and in validation."""
    asked = count(1)
    return lambda: next(asked) in after


@pytest.mark.parametrize("variant", ["plain", "dropout", "average", "momentum", "frozen"])
def test_training_stopped_within_epochs_goes_on_bit_by_bit(
    pictures: Pictures, tmp_path: Path, variant: str
) -> None:
    """11 images of 20 are trained on, 4 at a time: 3 steps an epoch; 7 are validated, in 2."""
    changes = {"train__epochs": 6, "train__checkpoint_s": 1e9, **VARIANTS[variant]}
    whole = run(pictures, tmp_path / "whole", **changes)
    parted = tmp_path / "parted"
    seen: list[int] = []
    for stop in (1, 1, 4, 2, 3, 7, 1):  # steps and validations from where it was stopped before
        halted = run(pictures, parted, halt=halting(stop), **changes)
        assert halted.outcome == "stopped"
        seen.append(len(read_epochs(TrialPaths(parted))))
    again = run(pictures, parted, **changes)
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] >= 1
    assert numbers(parted) == numbers(tmp_path / "whole")
    assert lasting(again) == lasting(whole)
    assert leftovers(parted) == leftovers(tmp_path / "whole")


def test_late_checkpoint_is_written_when_training_is_stopped(
    pictures: Pictures, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"train__epochs": 4, "train__checkpoint_s": 1e9}
    run(pictures, tmp_path, halt=halting(12), **changes)  # in the third epoch
    assert checkpoint_epoch(TrialPaths(tmp_path)) == 2
    seen: list[Line] = []
    run(pictures, tmp_path, lambda line: seen.append(line) or "stop", **changes)  # type: ignore[func-returns-value]
    assert checkpoint_epoch(TrialPaths(tmp_path)) == 2


class Killed(BaseException):
    """Ends a training as a signal does: nothing of it is written afterwards."""


def killed_after(epoch: int) -> Any:
    def answer(line: Line) -> str:
        if line["epoch"] == epoch:
            raise Killed
        return "continue"

    return answer


@pytest.mark.parametrize("checkpoint_s", [0.0, 1e9])
def test_killed_training_repeats_what_no_checkpoint_holds(
    pictures: Pictures, tmp_path: Path, checkpoint_s: float
) -> None:
    changes: dict[str, Any] = {"train__epochs": 4, "train__checkpoint_s": checkpoint_s}
    run(pictures, tmp_path / "whole", **changes)
    parted = tmp_path / "parted"
    with pytest.raises(Killed):
        run(pictures, parted, killed_after(3), **changes)
    assert len(read_epochs(TrialPaths(parted))) == 3
    held = checkpoint_epoch(TrialPaths(parted))
    assert held == (3 if checkpoint_s == 0 else 0)
    with TrialPaths(parted).epochs_jsonl.open("ab") as log:
        log.write(b'{"epoch": 4, "train/lo')
    run(pictures, parted, **changes)
    assert numbers(parted) == numbers(tmp_path / "whole")


def killed_at(count: int) -> Callable[[], bool]:
    """Ends the training when it is asked for the count-th time whether to stop."""
    left = [count]

    def halt() -> bool:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return False

    return halt


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that are trained from here on."""
    steps: list[int] = []
    step = Trainer._step

    def noted(self: Trainer, n: int, *batch: Any) -> Any:
        steps.append(n)
        return step(self, n, *batch)

    monkeypatch.setattr(Trainer, "_step", noted)
    return steps


@pytest.fixture
def written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is on disk before the next step, so that none is passed over."""
    save = CheckpointWriter.save

    def waiting(self: CheckpointWriter, state: dict[str, Any]) -> None:
        save(self, state)
        self.wait()

    monkeypatch.setattr(CheckpointWriter, "save", waiting)


@pytest.mark.usefixtures("written_at_once")
@pytest.mark.parametrize("variant", ["dropout", "average", "momentum"])
def test_long_epochs_are_saved_within_and_continued_bit_by_bit(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    """3 steps an epoch and 2 batches of validation; killed after step 2 of epoch 2."""
    changes = {"train__epochs": 3, **VARIANTS[variant]}
    whole = run(pictures, tmp_path / "whole", train__checkpoint_s=1e9, **changes)
    parted, often = tmp_path / "parted", changes | {"train__checkpoint_s": 1e-9}
    with pytest.raises(Killed):
        run(pictures, parted, halt=killed_at(7), **often)
    state: Any = read_checkpoint(TrialPaths(parted))
    assert (state["epoch"], state["trainer"]["part"]["steps"]) == (1, 1), "killed before the save"
    steps = steps_of(monkeypatch)
    again = run(pictures, parted, **often)
    assert steps == [4, 5, 6, 7, 8]
    assert numbers(parted) == numbers(tmp_path / "whole")
    assert lasting(again) == lasting(whole)
    assert leftovers(parted) == leftovers(tmp_path / "whole")


@pytest.mark.usefixtures("written_at_once")
def test_epoch_killed_in_its_validation_is_not_trained_again(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(pictures, tmp_path / "whole", train__checkpoint_s=1e9)
    with pytest.raises(Killed):
        run(pictures, tmp_path / "parted", halt=killed_at(5), train__checkpoint_s=1e-9)
    steps = steps_of(monkeypatch)
    run(pictures, tmp_path / "parted", train__checkpoint_s=1e-9)
    assert steps == [3, 4, 5, 6, 7, 8]
    assert numbers(tmp_path / "parted") == numbers(tmp_path / "whole")


def test_epochs_shorter_than_checkpoint_s_are_not_saved_within(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where each epoch is asked for, nor while the last checkpoint is being written."""
    saved: list[Any] = []
    monkeypatch.setattr(
        CheckpointWriter, "save", lambda self, state: saved.append(state["trainer"]["part"])
    )
    run(pictures, tmp_path / "late", train__checkpoint_s=1e9)
    assert saved == []
    run(pictures, tmp_path / "each", train__checkpoint_s=0.0)
    assert saved == [None] * 3
    monkeypatch.setattr(CheckpointWriter, "is_writing", True)
    run(pictures, tmp_path / "busy", train__checkpoint_s=1e-9)
    assert saved == [None] * 5


def test_seconds_of_an_epoch_are_counted_once_across_a_kill(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that goes on by a second in each step."""
    now = [0.0]
    monkeypatch.setattr(training_run.time, "monotonic", lambda: now[0])
    step = Trainer._step

    def timed(self: Trainer, n: int, *batch: Any) -> Any:
        now[0] += 1
        return step(self, n, *batch)

    monkeypatch.setattr(Trainer, "_step", timed)
    with pytest.raises(Killed):
        run(pictures, tmp_path, halt=killed_at(3), train__epochs=1, train__checkpoint_s=1.0)
    held: Any = read_checkpoint(TrialPaths(tmp_path))
    done = held["trainer"]["part"]["steps"]
    assert held["part_s"] == done >= 1
    run(pictures, tmp_path, train__epochs=1, train__checkpoint_s=1.0)
    (line,) = read_epochs(TrialPaths(tmp_path))
    assert line["seconds"] == 3.0


def test_epochs_of_before_are_reported_again_as_they_were_logged(
    pictures: Pictures, tmp_path: Path
) -> None:
    run(pictures, tmp_path, answering("continue", "stop"))
    logged, seen = read_epochs(TrialPaths(tmp_path)), list[Line]()
    run(pictures, tmp_path, lambda line: seen.append(line) or "continue")  # type: ignore[func-returns-value]
    assert seen[:2] == logged
    assert [line["epoch"] for line in seen] == [1, 2, 3]


def test_stopping_again_at_once_keeps_both_checkpoints_as_they_are(
    pictures: Pictures, tmp_path: Path
) -> None:
    run(pictures, tmp_path, answering("continue", "stop"), train__checkpoint_s=0.0)
    paths = TrialPaths(tmp_path)
    before = paths.checkpoint.read_bytes(), paths.checkpoint_previous.read_bytes()
    run(pictures, tmp_path, answering("stop"), train__checkpoint_s=0.0)
    assert (paths.checkpoint.read_bytes(), paths.checkpoint_previous.read_bytes()) == before


def test_answers_to_reported_epochs_count(pictures: Pictures, tmp_path: Path) -> None:
    run(pictures, tmp_path, answering("continue", "stop"))
    result = run(pictures, tmp_path, answering("prune"))
    assert result.outcome == "pruned"


def test_damaged_checkpoint_costs_epochs_but_no_numbers(pictures: Pictures, tmp_path: Path) -> None:
    run(pictures, tmp_path / "whole")
    parted = tmp_path / "parted"
    with pytest.raises(Killed):
        run(pictures, parted, killed_after(2), train__checkpoint_s=0.0)
    paths = TrialPaths(parted)
    paths.checkpoint.write_bytes(paths.checkpoint.read_bytes()[:-100])
    assert checkpoint_epoch(TrialPaths(parted)) == 2, "its header is whole"
    run(pictures, parted, train__checkpoint_s=0.0)
    assert numbers(parted) == numbers(tmp_path / "whole")


@pytest.mark.parametrize("change", [{"seed": 2}, {"optim__lr": 2e-3}])
def test_checkpoint_of_another_training_is_not_continued(
    pictures: Pictures, tmp_path: Path, change: dict[str, Any]
) -> None:
    run(pictures, tmp_path / "parted", answering("stop"))
    run(pictures, tmp_path / "parted", **change)
    run(pictures, tmp_path / "whole", **change)
    assert numbers(tmp_path / "parted") == numbers(tmp_path / "whole")


def test_checkpoint_beyond_the_log_is_not_continued(pictures: Pictures, tmp_path: Path) -> None:
    run(pictures, tmp_path, answering("continue", "stop"))
    TrialPaths(tmp_path).epochs_jsonl.unlink()
    run(pictures, tmp_path)
    assert [line["epoch"] for line in read_epochs(TrialPaths(tmp_path))] == [1, 2, 3]


def test_continuing_asks_for_no_pretrained_weights(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in the checkpoint; the cache they came from may be gone."""
    asked = []

    def building(model: ModelConfig, *, pretrained: bool, **shape: int) -> nn.Module:
        asked.append(pretrained)
        return build_network(model, pretrained=False, **shape)

    monkeypatch.setattr(network_setup, "build_network", building)
    changes: dict[str, Any] = {"model__encoder_weights": "imagenet"}
    run(pictures, tmp_path, answering("stop"), **changes)
    run(pictures, tmp_path, answering("continue", "stop"), **changes)
    assert asked == [True, False]


class Metered:
    """A GPU that has used 2 Wh more whenever its energy is read."""

    def __init__(self, device: torch.device, *, shares_gpu: bool) -> None:
        self._used = 0.0

    def used_wh(self) -> float | None:
        self._used += 2.0
        return self._used


def test_energy_adds_up_over_attempts(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_run, "EnergyMeter", Metered)
    assert run(pictures, tmp_path, answering("continue", "stop")).outcome == "stopped"
    state = read_checkpoint(TrialPaths(tmp_path))
    assert state is not None and state["energy_wh"] == 2.0
    assert run(pictures, tmp_path).costs["cost/energy_wh"] == 2.0 + 2.0


def test_energy_that_one_attempt_did_not_tell_is_not_recorded(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(pictures, tmp_path, answering("continue", "stop")).outcome == "stopped"
    state = read_checkpoint(TrialPaths(tmp_path))
    assert state is not None and "energy_wh" not in state
    monkeypatch.setattr(training_run, "EnergyMeter", Metered)
    assert "cost/energy_wh" not in run(pictures, tmp_path).costs
