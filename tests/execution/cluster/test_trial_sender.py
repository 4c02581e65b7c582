import json
from pathlib import Path
from typing import Any

import pytest

from harness.execution.cluster.file_receiver import ControllerFiles
from harness.execution.cluster.file_transfer import TransferError
from harness.execution.cluster.messages import ChunkReply
from harness.execution.cluster.trial_sender import (
    ControllerDiskFullError,
    StaleTransferError,
    TrialSender,
)
from tests.execution.cluster.links import FaultyLink, corrupt, drop
from tests.execution.cluster.plain import plain_inputs, plain_task


class SendingPair:
    """Folders of a trial on the controller and on a node, and a sender between them."""

    def __init__(self, root: Path, **faults: Any) -> None:
        self.near, self.far = root / "controller", root / "node"
        self.near.mkdir()
        self.far.mkdir()
        files = ControllerFiles()
        files.register(plain_inputs(self.near))
        self.link = FaultyLink(files, **faults)
        self.sender = self.new_sender()

    def new_sender(self) -> TrialSender:
        return TrialSender(self.link, plain_task(self.far), self.far, pause=lambda _: None)

    def log(self, *epochs: int, torn: str = "") -> None:
        lines = "".join(json.dumps({"epoch": epoch}) + "\n" for epoch in epochs)
        (self.far / "epochs.jsonl").write_text(lines + torn, encoding="utf-8")

    def checkpoint(self, content: bytes) -> None:
        """As the worker writes it: the present one becomes the previous one."""
        path = self.far / "checkpoint"
        if path.exists():
            path.replace(path.with_name("checkpoint.previous"))
        path.write_bytes(content)

    def arrived(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.near)): path.read_bytes()
            for path in self.near.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def pair(tmp_path: Path) -> SendingPair:
    return SendingPair(tmp_path)


def test_only_new_lines_of_the_log_are_sent(pair: SendingPair) -> None:
    for n in (1, 2, 3):
        pair.log(*range(1, n + 1))
        pair.sender.send_changed()
    line = len('{"epoch": 1}\n')
    assert [(c.mode, c.begin, c.size) for c in pair.link.chunks] == [
        ("replace", 0, line),
        ("append", line, line),
        ("append", 2 * line, line),
    ]
    assert pair.arrived()["epochs.jsonl"] == (pair.far / "epochs.jsonl").read_bytes()
    pair.sender.send_changed()
    assert pair.link.n_writes == 3, "nothing has changed"


def test_line_without_an_end_waits(pair: SendingPair) -> None:
    pair.log(1, torn='{"epo')
    pair.sender.send_changed()
    assert pair.arrived()["epochs.jsonl"] == b'{"epoch": 1}\n'
    pair.log(1, 2)
    pair.sender.send_changed()
    assert pair.arrived()["epochs.jsonl"] == b'{"epoch": 1}\n{"epoch": 2}\n'


def test_log_that_was_cut_is_sent_whole(pair: SendingPair) -> None:
    """A training that goes on from an older checkpoint writes its epochs again."""
    pair.log(1, 2, 3)
    pair.sender.send_changed()
    pair.log(1, 7)
    pair.sender.send_changed()
    assert pair.arrived()["epochs.jsonl"] == b'{"epoch": 1}\n{"epoch": 7}\n'
    pair.log()
    pair.sender.send_changed()
    assert pair.arrived()["epochs.jsonl"] == b""


def test_lost_acknowledgement_of_an_append_doubles_nothing(tmp_path: Path) -> None:
    pair = SendingPair(tmp_path, after_write=drop(2))
    pair.log(1)
    pair.sender.send_changed()
    pair.log(1, 2)
    pair.sender.send_changed()
    assert pair.arrived()["epochs.jsonl"] == (pair.far / "epochs.jsonl").read_bytes()


def test_log_arrives_before_the_checkpoint_that_needs_it(pair: SendingPair) -> None:
    pair.log(1)
    pair.checkpoint(b"after epoch 1")
    pair.sender.send_checkpoint()
    assert [chunk.path for chunk in pair.link.chunks] == ["epochs.jsonl", "checkpoint"]


def test_checkpoints_are_rotated_on_the_other_side(pair: SendingPair) -> None:
    for content in (b"one", b"two"):
        pair.checkpoint(content)
        pair.sender.send_checkpoint()
        pair.sender.send_checkpoint()
    assert pair.arrived() == {"checkpoint": b"two", "checkpoint.previous": b"one"}
    assert pair.link.n_writes == 2, "none is sent twice"


def test_end_sends_both_checkpoints_where_none_was_sent(pair: SendingPair) -> None:
    for content in (b"one", b"two", b"three"):
        pair.checkpoint(content)
    pair.sender.send_checkpoint(final=True)
    assert pair.arrived() == {"checkpoint": b"three", "checkpoint.previous": b"two"}


def test_files_from_the_controller_are_not_sent_back(pair: SendingPair) -> None:
    pair.log(1)
    pair.checkpoint(b"one")
    for path in pair.far.iterdir():
        (pair.near / path.name).write_bytes(path.read_bytes())
    sender = pair.new_sender()
    sender.mark_present()
    sender.send_changed()
    sender.send_checkpoint(final=True)
    assert pair.link.n_writes == 0
    pair.log(1, 2)
    sender.send_changed()
    assert [(c.mode, c.begin) for c in pair.link.chunks] == [("append", 13)]


def test_temporary_and_foreign_files_stay(pair: SendingPair) -> None:
    (pair.far / "best" / ".model.1.tmp").mkdir(parents=True)
    (pair.far / "best" / ".model.1.tmp" / "half").write_bytes(b"x")
    (pair.far / "best" / "scores.csv").write_bytes(b"1")
    (pair.far / "overlays").mkdir()
    (pair.far / "overlays" / "link").symlink_to("/etc/passwd")
    (pair.far / "trial.json").write_text("{}", encoding="utf-8")
    pair.sender.send_changed()
    assert pair.arrived() == {"best/scores.csv": b"1"}
    assert pair.sender.take_sent() == ("best/scores.csv",)
    assert pair.sender.take_sent() == ()


@pytest.mark.parametrize("faults", [{"spoil_write": drop(1, 2)}, {"spoil_write": corrupt(1, 3)}])
def test_torn_transfer_is_repeated(tmp_path: Path, faults: Any) -> None:
    pair = SendingPair(tmp_path, **faults)
    pair.checkpoint(b"state")
    pair.sender.send_checkpoint()
    assert pair.arrived() == {"checkpoint": b"state"}


def test_link_that_stays_cut_is_an_error(tmp_path: Path) -> None:
    pair = SendingPair(tmp_path, spoil_write=drop(*range(100)))
    pair.log(1)
    with pytest.raises(TransferError, match=r"epochs.jsonl: the link was cut, in 8 attempts"):
        pair.sender.send_changed()
    assert pair.arrived() == {}


@pytest.mark.parametrize(
    ("status", "error", "n_writes"),
    [
        ("stale", StaleTransferError, 1),
        ("full", ControllerDiskFullError, 1),
        ("refused", TransferError, 1),
        ("torn", TransferError, 8),
    ],
)
def test_refusals_end_the_transfer(
    tmp_path: Path, status: Any, error: type[Exception], n_writes: int
) -> None:
    reply = ChunkReply(status=status, message="no", folder=tmp_path)
    pair = SendingPair(tmp_path, after_write=lambda *_: reply)
    pair.log(1)
    with pytest.raises(error, match="no"):
        pair.sender.send_changed()
    assert pair.link.n_writes == n_writes


def test_large_file_goes_in_chunks_and_measures_the_link(
    pair: SendingPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.execution.cluster.file_transfer.CHUNK_BYTES", 65536)
    content = bytes(range(256)) * 1000
    pair.checkpoint(content)
    pair.sender.send_checkpoint()
    assert pair.arrived() == {"checkpoint": content}
    assert [c.offset for c in pair.link.chunks] == [0, 65536, 131072, 196608]
    assert [c.sha256 is None for c in pair.link.chunks] == [True, True, True, False]
    assert pair.sender.n_bytes == len(content)
    assert pair.sender.link_rate is not None and pair.sender.link_rate > 0
