import json
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core import files
from harness.core.checkpoint_header import checkpoint_epoch
from harness.core.paths import TrialPaths
from harness.training.loop import checkpoint
from harness.training.loop.checkpoint import (
    CheckpointWriter,
    copy_to_cpu,
    read_checkpoint,
    remove_checkpoints,
    write_checkpoint,
)


@pytest.fixture
def paths(tmp_path: Path) -> TrialPaths:
    return TrialPaths(tmp_path / "0003")


def state(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "weights": {"w": torch.arange(50.0) + epoch}, "list": [1, None, "x"]}


def test_checkpoint_gives_back_what_was_written(paths: TrialPaths) -> None:
    write_checkpoint(paths, state(4))
    got = read_checkpoint(paths)
    assert got is not None and got["epoch"] == 4 and got["list"] == [1, None, "x"]
    assert torch.equal(got["weights"]["w"], torch.arange(50.0) + 4)
    assert checkpoint_epoch(paths) == 4


def test_there_is_none_at_first_and_after_removal(paths: TrialPaths) -> None:
    assert read_checkpoint(paths) is None and checkpoint_epoch(paths) == 0
    for epoch in (1, 2):
        write_checkpoint(paths, state(epoch))
    remove_checkpoints(paths)
    assert list(paths.root.iterdir()) == []


def test_the_one_before_is_kept(paths: TrialPaths) -> None:
    for epoch in (1, 2, 3):
        write_checkpoint(paths, state(epoch))
    assert sorted(path.name for path in paths.root.iterdir()) == [
        "checkpoint",
        "checkpoint.previous",
    ]
    paths.checkpoint.unlink()
    got = read_checkpoint(paths)
    assert got is not None and got["epoch"] == 2


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    broken = {
        "cut": data[: len(data) // 2],
        "empty": b"",
        "flipped": data[:-20] + bytes([data[-20] ^ 1]) + data[-19:],
        "no header": data.partition(b"\n")[2],
        "other json": b'["epoch"]\n' + data.partition(b"\n")[2],
    }[how]
    path.write_bytes(broken)


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "no header", "other json"])
def test_damaged_checkpoint_falls_back_to_the_previous_then_to_none(
    paths: TrialPaths, how: str
) -> None:
    for epoch in (1, 2):
        write_checkpoint(paths, state(epoch))
    damage(paths.checkpoint, how)
    got = read_checkpoint(paths)
    assert got is not None and got["epoch"] == 1
    damage(paths.checkpoint_previous, how)
    assert read_checkpoint(paths) is None


def test_failed_write_leaves_both_as_they_were(
    paths: TrialPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    for epoch in (1, 2):
        write_checkpoint(paths, state(epoch))
    before = {path.name: path.read_bytes() for path in paths.root.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(paths, state(3))
    assert {path.name: path.read_bytes() for path in paths.root.iterdir()} == before


def test_checkpoint_is_seen_to_be_written_from_its_first_moment(
    paths: TrialPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To serialise a large network takes as long as to write it."""
    seen: list[bool] = []
    save = torch.save

    def watched(state: Any, buffer: Any) -> None:
        seen.append(files.has_pending_write(paths.checkpoint))
        save(state, buffer)

    monkeypatch.setattr(torch, "save", watched)
    write_checkpoint(paths, {"epoch": 1})
    assert seen == [True] and not files.has_pending_write(paths.checkpoint)


def test_code_in_a_checkpoint_is_not_run(paths: TrialPaths) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("code was run",))

    write_checkpoint(paths, {"epoch": 1, "x": Harmful()})
    with pytest.raises(pickle.UnpicklingError):
        read_checkpoint(paths)


def test_training_may_go_on_while_a_copy_is_written(
    paths: TrialPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write, weights = threading.Event(), torch.zeros(3)
    write = checkpoint.write_checkpoint

    def slowly(*arguments: Any) -> None:
        assert may_write.wait(10)
        write(*arguments)

    monkeypatch.setattr(checkpoint, "write_checkpoint", slowly)
    saver = CheckpointWriter(paths)
    saver.save({"epoch": 1, "weights": weights})
    weights.add_(1)
    may_write.set()
    saver.wait()
    saver.close()
    got = read_checkpoint(paths)
    assert got is not None and torch.equal(got["weights"], torch.zeros(3))


def test_failure_in_the_background_is_raised_at_the_next_save(paths: TrialPaths) -> None:
    paths.root.parent.mkdir(exist_ok=True)
    paths.root.write_text("a file where the folder should be")
    saver = CheckpointWriter(paths)
    saver.save(state(1))
    with pytest.raises(OSError):  # noqa: PT011 - the system's own words differ
        saver.save(state(2))
    saver.close()


def test_copies_share_nothing() -> None:
    original: dict[str, Any] = {"a": [torch.zeros(2)], "b": (torch.zeros(1), "text")}
    copy = copy_to_cpu(original)
    original["a"][0].add_(1)
    original["b"][0].add_(1)
    assert copy["a"][0].tolist() == [0, 0] and copy["b"][0].tolist() == [0]
    assert copy["b"][1] == "text"
