import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.core import files
from harness.execution.cluster import file_receiver
from harness.execution.cluster.file_receiver import ControllerFiles
from harness.execution.cluster.file_transfer import TransferError
from harness.execution.cluster.messages import ChunkReply, FileChunk
from tests.execution.cluster.plain import plain_inputs


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    (tmp_path / "trial").mkdir()
    return tmp_path / "trial"


@pytest.fixture
def receiver(trial: Path) -> ControllerFiles:
    receiver = ControllerFiles()
    receiver.register(plain_inputs(trial))
    return receiver


def send(receiver: ControllerFiles, path: str, *parts: bytes, **fields: Any) -> ChunkReply:
    """Send a file in these parts; the reply to the last."""
    whole, offset = b"".join(parts), 0
    for index, part in enumerate(parts):
        is_last = index == len(parts) - 1
        plain = {
            "number": 0,
            "attempt": 1,
            "path": path,
            "mode": "replace",
            "offset": offset,
            "size": len(whole),
            "sha256": hashlib.sha256(whole).hexdigest() if is_last else None,
        }
        reply = receiver.write_chunk(FileChunk.model_validate(plain | fields), part)
        offset += len(part)
    return reply


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_file_in_parts_appears_whole(receiver: ControllerFiles, trial: Path) -> None:
    assert send(receiver, "best/model/x", b"abc", b"", b"def").status == "accepted"
    assert (trial / "best/model/x").read_bytes() == b"abcdef"
    assert names(trial) == ["best/model/x"]


def test_wrong_hash_leaves_the_old_file(receiver: ControllerFiles, trial: Path) -> None:
    send(receiver, "checkpoint", b"old", mode="rotate")
    assert send(receiver, "checkpoint", b"new", mode="rotate", sha256="0" * 64).status == "torn"
    assert (trial / "checkpoint").read_bytes() == b"old"
    assert names(trial) == ["checkpoint"]


@pytest.mark.parametrize(
    ("offset", "size"), [(1, 3), (0, 2), (7, 10)], ids=["gap", "too long", "without a beginning"]
)
def test_part_that_does_not_fit_is_torn(
    receiver: ControllerFiles, trial: Path, offset: int, size: int
) -> None:
    assert send(receiver, "checkpoint", b"abc", offset=offset, size=size).status == "torn"
    assert names(trial) == []


def test_short_transfer_is_torn(receiver: ControllerFiles, trial: Path) -> None:
    digest = hashlib.sha256(b"abc").hexdigest()
    assert send(receiver, "checkpoint", b"abc", size=4, sha256=digest).status == "torn"
    assert names(trial) == []


def test_checkpoint_keeps_the_one_before(receiver: ControllerFiles, trial: Path) -> None:
    for content in (b"1", b"2", b"3"):
        send(receiver, "checkpoint", content, mode="rotate")
    assert (trial / "checkpoint").read_bytes() == b"3"
    assert (trial / "checkpoint.previous").read_bytes() == b"2"


def test_log_grows_by_its_new_part_alone(receiver: ControllerFiles, trial: Path) -> None:
    send(receiver, "epochs.jsonl", b"{1}\n", mode="append")
    assert send(receiver, "epochs.jsonl", b"{2}\n", mode="append", begin=4).status == "accepted"
    assert (trial / "epochs.jsonl").read_bytes() == b"{1}\n{2}\n"
    assert send(receiver, "epochs.jsonl", b"{2}\n", mode="append", begin=4).status == "conflict"
    assert (trial / "epochs.jsonl").read_bytes() == b"{1}\n{2}\n"


@pytest.mark.parametrize(
    "path", ["trial.json", "config.yaml", "best/.x", "x", "checkpoint/y", "overlays/a.tmp"]
)
def test_other_files_are_refused(receiver: ControllerFiles, trial: Path, path: str) -> None:
    assert send(receiver, path, b"x").status == "refused"
    assert names(trial) == []


def test_links_lead_nowhere(receiver: ControllerFiles, trial: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"mine")
    (trial / "overlays").symlink_to(tmp_path / "outside")
    (trial / "epochs.jsonl").symlink_to(tmp_path / "outside" / "file")
    assert send(receiver, "overlays/1.png", b"x").status == "refused"
    assert send(receiver, "epochs.jsonl", b"x", mode="append", begin=4).status == "refused"
    assert names(tmp_path / "outside") == ["file"]
    assert (tmp_path / "outside" / "file").read_bytes() == b"mine"


def test_stale_attempt_writes_nothing(receiver: ControllerFiles, trial: Path) -> None:
    receiver.register(plain_inputs(trial, attempt=2))
    assert send(receiver, "checkpoint", b"x").status == "stale"
    assert send(receiver, "checkpoint", b"x", attempt=2).status == "accepted"
    receiver.end_attempt(plain_inputs(trial, attempt=2))
    assert send(receiver, "checkpoint", b"y", attempt=2).status == "stale"
    assert (trial / "checkpoint").read_bytes() == b"x"


def test_new_attempt_clears_what_a_dead_agent_left(receiver: ControllerFiles, trial: Path) -> None:
    """A study that stops waits for files of a checkpoint that is being written."""
    send(receiver, "checkpoint", b"half", size=100, sha256=None)
    (name,) = names(trial)
    assert name.startswith(".checkpoint.") and name.endswith(".arriving.tmp")
    assert files.has_pending_write(trial / "checkpoint")
    receiver.register(plain_inputs(trial, attempt=2))
    assert names(trial) == []


def test_call_that_was_given_up_does_not_end_its_repetition(
    receiver: ControllerFiles, trial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call is so slow that the agent sends the file again before it has ended."""
    fsync, calls = file_receiver._fsync, []

    def slow(path: Path) -> None:
        fsync(path)
        calls.append(path)
        if len(calls) == 1:
            send(receiver, "checkpoint", b"new", size=100, sha256=None)

    monkeypatch.setattr(file_receiver, "_fsync", slow)
    assert send(receiver, "checkpoint", b"old").status == "torn"
    assert not (trial / "checkpoint").exists(), "the half of the repetition is no checkpoint"
    assert send(receiver, "checkpoint", b"new").status == "accepted"
    assert names(trial) == ["checkpoint"]


def test_full_disk_is_said_with_its_folder(
    receiver: ControllerFiles, trial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    send(receiver, "checkpoint", b"old")
    monkeypatch.setattr(file_receiver, "_fsync", full)
    reply = send(receiver, "checkpoint", b"new", mode="rotate")
    assert (reply.status, reply.folder) == ("full", trial)
    assert names(trial) == ["checkpoint"]
    assert (trial / "checkpoint").read_bytes() == b"old"


def test_log_is_cut_back_when_the_disk_fills(
    receiver: ControllerFiles, trial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(receiver, "epochs.jsonl", b"{1}\n", mode="append")
    calls = iter([None, OSError(errno.ENOSPC, "full")])  # the temporary file, then the log

    def fsync(_: int) -> None:
        if (error := next(calls)) is not None:
            raise error

    monkeypatch.setattr(os, "fsync", fsync)
    assert send(receiver, "epochs.jsonl", b"{2}\n", mode="append", begin=4).status == "full"
    assert (trial / "epochs.jsonl").read_bytes() == b"{1}\n"


def test_agents_read_registered_files_only(trial: Path) -> None:
    (trial / "epochs.jsonl").write_bytes(b"log")
    (trial / "secret").write_bytes(b"secret")
    controller = ControllerFiles()
    inputs = plain_inputs(trial, files=["epochs.jsonl"])
    controller.register(inputs)
    assert controller.read_chunk(inputs.trial_key, "epochs.jsonl", 1) == b"og"
    for key, path in [
        (inputs.trial_key, "secret"),
        (inputs.trial_key, "../trial/secret"),
        ("other", "epochs.jsonl"),
        (inputs.trial_key, "/etc/passwd"),
    ]:
        with pytest.raises(TransferError, match="is not a file of this study's tasks"):
            controller.read_chunk(key, path, 0)
    controller.end_attempt(inputs)
    with pytest.raises(TransferError):
        controller.read_chunk(inputs.trial_key, "epochs.jsonl", 0)


def test_messages_carry_no_environment(trial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    assert "hunter2" not in json.dumps(plain_inputs(trial).model_dump(mode="json"))
