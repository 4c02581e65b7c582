"""A warm process gives what a fresh one gives, and holds on to no trial that has ended."""

import gc
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harness.core.paths import TrialPaths
from harness.core.records import TrialResult
from harness.execution.prestart import ALLOCATOR_ENVIRONMENT
from harness.training.hardware.buffer_snapshot import BufferSnapshot
from harness.training.hardware.normalizer import ImageNormalizer
from harness.training.loop import checkpoint, setup, trainer
from harness.training.loop import fit as fitting
from harness.training.loop.errors import TooLargeError
from harness.training.loop.gradients import BatchGradients
from harness.training.loop.setup import TrainingSetup
from harness.training.loop.trainer import Trainer
from tests.training.conftest import Pictures, one_torch_thread
from tests.training.loop.test_fit import Line, answering, run

ROOT = Path(__file__).parents[2]


def trials_in_both(pictures: Pictures, folder: Path, count: int) -> dict[str, Any]:
    plain = folder / "pictures.json"
    plain.write_text(json.dumps(pictures.as_plain()))
    command = [sys.executable, "-m", "tests.training.warming", plain, folder, str(count)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=ALLOCATOR_ENVIRONMENT | os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def test_no_network_of_a_trial_before_is_alive_and_values_are_those_of_fresh_processes(
    pictures: Pictures, tmp_path: Path
) -> None:
    seen = trials_in_both(pictures, tmp_path, 4)
    assert seen["alive"] == [0] * 4
    assert seen["warm"] == seen["fresh"] and len(seen["warm"]) == 4


@pytest.mark.slow
def test_forty_trials_in_one_process(pictures: Pictures, tmp_path: Path) -> None:
    seen = trials_in_both(pictures, tmp_path, 40)
    assert seen["alive"] == [0] * 40
    assert seen["warm"] == seen["fresh"]
    assert seen["resident"][39] <= 1.03 * seen["resident"][4]


@pytest.fixture
def network_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], object]]:
    """The network that was trained last, if it is alive; only reference counts free anything."""
    kept: list[weakref.ref[Any]] = []
    prepare = fitting.prepare_training

    def noted(*args: Any, **kwargs: Any) -> TrainingSetup:
        setup = prepare(*args, **kwargs)
        kept.append(weakref.ref(setup.trainer.network))
        return setup

    monkeypatch.setattr(fitting, "prepare_training", noted)
    monkeypatch.setattr(fitting, "release_memory", lambda: None)
    gc.disable()
    yield lambda: kept[-1]()
    gc.enable()


@pytest.mark.parametrize("answer", ["continue", "prune", "stop"])
def test_no_cycle_holds_a_trial_however_it_ends(
    pictures: Pictures, tmp_path: Path, network_of: Callable[[], object], answer: Any
) -> None:
    run(pictures, tmp_path, lambda _: answer, train__ema_decay=0.9, train__checkpoint_s=0.0)
    assert network_of() is None


def gone(_: Line) -> Any:
    raise BrokenPipeError("the controller is gone")


def test_no_cycle_holds_a_trial_whose_answer_failed(
    pictures: Pictures, tmp_path: Path, network_of: Callable[[], object]
) -> None:
    with pytest.raises(BrokenPipeError, match="the controller is gone") as raised:
        run(pictures, tmp_path, gone)
    assert network_of() is not None, "the frames of the error hold it"
    del raised
    assert network_of() is None


@pytest.mark.parametrize("checkpoint_s", [0.0, 1e-6])
def test_no_cycle_holds_a_trial_whose_checkpoint_failed(
    pictures: Pictures,
    tmp_path: Path,
    network_of: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
    checkpoint_s: float,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_checkpoint", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        run(pictures, tmp_path, train__checkpoint_s=checkpoint_s)
    del raised
    assert network_of() is None


def test_no_cycle_holds_a_trial_that_ran_out_of_memory(
    pictures: Pictures,
    tmp_path: Path,
    network_of: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(self: BatchGradients, inputs: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(BatchGradients, "_forward_logits", full)
    with pytest.raises(TooLargeError, match="not even one image fits into memory") as raised:
        run(pictures, tmp_path)
    del raised
    assert network_of() is None


def test_leftovers_of_a_trial_do_not_make_the_next_ones_batch_smaller(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pretended GPU that holds one network: the second trial has whole batches, too."""
    networks: list[weakref.ref[Any]] = []
    prepare, logits = fitting.prepare_training, BatchGradients._forward_logits

    def knotted(*args: Any, **kwargs: Any) -> TrainingSetup:
        setup = prepare(*args, **kwargs)
        object.__setattr__(setup.trainer.network, "myself", setup.trainer.network)
        networks.append(weakref.ref(setup.trainer.network))
        return setup

    def full(self: BatchGradients, inputs: torch.Tensor) -> torch.Tensor:
        if len(inputs) >= 4 and sum(network() is not None for network in networks) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits(self, inputs)

    alone = run(pictures, tmp_path / "alone", seed=2)
    monkeypatch.setattr(fitting, "prepare_training", knotted)
    monkeypatch.setattr(fitting, "release_memory", lambda: None)  # found out in the first step
    monkeypatch.setattr(BatchGradients, "_forward_logits", full)
    gc.disable()
    try:
        run(pictures, tmp_path / "0000", seed=1)
        assert run(pictures, tmp_path / "0001", seed=2).value == alone.value
    finally:
        gc.enable()


AVERAGED: dict[str, Any] = {"train__ema_decay": 0.9, "optim__grad_clip": 0.1}


@pytest.fixture(scope="module")
def undisturbed(pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> TrialResult:
    """The result of a training that never ran out of memory."""
    with one_torch_thread():  # this fixture is set up before those of the function
        return run(pictures, tmp_path_factory.mktemp("undisturbed"), **AVERAGED)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (fitting, "prepare_training"),
        (setup, "validate_network"),
        (Trainer, "load"),
        (ImageNormalizer, "__call__"),
        (trainer, "to_device"),
        (trainer, "AsyncScalar"),
        (nn.utils, "clip_grad_norm_"),
        (setup, "BufferSnapshot"),
        (BufferSnapshot, "update"),
        (trainer, "_add_values"),
        (trainer, "_to_floats"),
    ],
)
def test_memory_that_runs_out_once_changes_nothing(
    pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: TrialResult,
    place: Any,
    name: str,
) -> None:
    """Wherever something is made on the device. The trial is continued, so that it also loads."""
    run(pictures, tmp_path, answering("stop"), **AVERAGED)
    action, failed = getattr(place, name), list[bool]()

    def once(*args: Any, **kwargs: Any) -> Any:
        if not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return action(*args, **kwargs)

    monkeypatch.setattr(place, name, once)
    again = run(pictures, tmp_path, **AVERAGED)
    assert failed and (again.value, again.best) == (undisturbed.value, undisturbed.best)


def test_a_trial_begins_with_the_memory_of_those_before_given_back(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before peak memory is measured, which else counts them."""
    order: list[str] = []
    reset = fitting.reset_peak_memory
    monkeypatch.setattr(fitting, "release_memory", lambda: order.append("released"))
    monkeypatch.setattr(
        fitting, "reset_peak_memory", lambda device: order.append("measured") or reset(device)
    )
    run(pictures, tmp_path, answering("stop"))
    assert order == ["released", "measured"]
    assert TrialPaths(tmp_path).checkpoint.exists()
