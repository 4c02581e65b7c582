"""A training that is killed, as a power cut does it, again and again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core.paths import TrialPaths
from harness.training.loop.checkpoint import read_checkpoint
from tests.training.conftest import Pictures
from tests.training.killing import EPOCHS, KILLS
from tests.training.loop.test_resume import leftovers, numbers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
]


def killing(*arguments: str) -> Any:
    """What `tests.training.killing` saw."""
    command = [sys.executable, "-m", "tests.training.killing", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def same(one: Any, other: Any) -> bool:
    """Whether nested states are equal bit by bit."""
    if isinstance(one, torch.Tensor):
        return bool(torch.equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_weights_are_those_of_an_undisturbed_training(pictures: Pictures, tmp_path: Path) -> None:
    """Killed at the end of every epoch and at ten random steps."""
    place = tmp_path / "pictures.json"
    place.write_text(json.dumps(pictures.as_plain()), encoding="utf-8")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    ends = killing("training", str(place), str(killed), str(whole), "1")
    assert ends == [0] + [signal.SIGKILL] * (3 * EPOCHS) + [0]
    assert numbers(killed) == numbers(whole)
    assert leftovers(killed) == leftovers(whole), "best weights, scores, probabilities, overlays"
    last, undisturbed = (read_checkpoint(TrialPaths(folder)) for folder in (killed, whole))
    assert last is not None and undisturbed is not None
    assert same(last["trainer"], undisturbed["trainer"])
    assert not [*killed.rglob("*.tmp")], "what was torn is cleared away"


def test_there_is_always_a_checkpoint_that_loads(tmp_path: Path) -> None:
    seen = killing("saving", str(tmp_path / "0001"), "1")
    assert seen["kills"] == KILLS
    assert seen["torn"] > 0, "no kill fell into the saving"
