"""Files of messages: torn and invalid lines, full disks, heartbeats of clocks that differ."""

import errno
import os
from pathlib import Path

import pytest

from harness.execution.cluster.slurm import line_files
from harness.execution.cluster.slurm.line_files import (
    HeartbeatMonitor,
    LineReader,
    LineWriter,
    MailboxError,
)
from harness.execution.protocol import EpochReply


def reply(number: int) -> EpochReply:
    return EpochReply(number=number, decision="continue")


class FakeClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_messages_are_read_once_and_in_order(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "f")
    reader = LineReader(tmp_path / "f", EpochReply)
    assert reader.read_new() == [], "the file does not exist yet"
    writer.append(reply(1))
    writer.append(reply(2))
    assert reader.read_new() == [reply(1), reply(2)]
    assert reader.read_new() == []
    writer.append(reply(3))
    assert reader.read_new() == [reply(3)]


def test_a_line_without_its_end_is_read_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "f"
    line = reply(7).model_dump_json().encode() + b"\n"
    reader = LineReader(path, EpochReply)
    for size in range(len(line)):
        path.write_bytes(line[:size])
        assert reader.read_new() == []
    path.write_bytes(line)
    assert reader.read_new() == [reply(7)]


def test_pages_that_arrive_late_are_waited_for(tmp_path: Path) -> None:
    """A client of NFS may see zeros in place of data that the server has not sent yet."""
    path = tmp_path / "f"
    first, second = (reply(n).model_dump_json().encode() + b"\n" for n in (1, 2))
    reader = LineReader(path, EpochReply)
    path.write_bytes(first + b"\0" * (len(second) - 1) + b"\n")
    assert reader.read_new() == [reply(1)]
    assert reader.read_new() == []
    path.write_bytes(first + second)
    assert reader.read_new() == [reply(2)]


def test_a_line_that_stays_invalid_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b'{"kind": "answer", "number": 1, "decision": "explode"}\n')
    clock = FakeClock()
    reader = LineReader(tmp_path / "f", EpochReply, clock)
    assert reader.read_new() == []
    clock.now = line_files.INVALID_LINE_S
    assert reader.read_new() == []
    clock.now += 1
    with pytest.raises(MailboxError, match="explode"):
        reader.read_new()


def test_a_full_disk_leaves_no_part_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    writer, reader = LineWriter(path), LineReader(path, EpochReply)
    writer.append(reply(1))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space") as caught:
            writer.append(reply(2))
    assert caught.value.filename == str(path)
    with path.open("ab") as handle:
        handle.write(b'{"kind": "ans')  # and a part of it, as a short write leaves it
    writer.append(reply(3))
    numbers = [message.number for message in reader.read_new()]
    assert numbers == [1, 3]


def set_time(path: Path, seconds: float) -> None:
    path.touch()
    os.utime(path, (seconds, seconds))


@pytest.mark.parametrize("offset_s", [-3600.0, 0.0, 3600.0])
def test_silence_does_not_depend_on_the_clock_of_the_other(tmp_path: Path, offset_s: float) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    monitor = HeartbeatMonitor(own, other)
    for now in (1000.0, 1005.0, 1010.0):
        set_time(own, now)
        set_time(other, now + offset_s)
        assert monitor.silence_s() == 0
    set_time(own, 1040.0)
    assert monitor.silence_s() == 30
    set_time(other, 1040.0 + offset_s)
    assert monitor.silence_s() == 0


def test_a_process_that_was_suspended_hears_the_other_first(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    monitor = HeartbeatMonitor(own, other)
    set_time(own, 1000.0)
    set_time(other, 1000.0)
    assert monitor.silence_s() == 0
    set_time(other, 9000.0)  # an hour of its beats, which this process has slept through
    set_time(own, 9001.0)
    assert monitor.silence_s() == 0


def test_a_heartbeat_that_cannot_be_read_is_silence(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    monitor = HeartbeatMonitor(own, other)
    assert monitor.silence_s() == 0, "this process is cut off itself"
    set_time(own, 1000.0)
    set_time(other, 1000.0)
    monitor.silence_s()
    other.unlink()
    set_time(own, 1060.0)
    assert monitor.silence_s() == 60
