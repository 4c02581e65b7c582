"""Causes that faults beside the training get, and the host that they name."""

import errno
import socket
from pathlib import Path

import pytest

from harness.core.errors import DataError, WeightsError
from harness.execution.cluster.node_failures import input_failure_event, node_failure_event
from harness.execution.protocol import TrialFailed
from tests.execution.cluster.plain import plain_task


def full_disk(folder: Path) -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", str(folder / "absent" / "file"))


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def test_full_disk_of_the_controller_is_named_as_its_own(tmp_path: Path) -> None:
    """An absolute path, so that the study tests its space; not one of another host."""
    wrapped = caused_by(DataError("needs 5 MB"), full_disk(tmp_path))
    for error in (full_disk(tmp_path), wrapped):
        event = input_failure_event(plain_task(tmp_path), error)
        assert event.failure.cause == "disk_full" and event.full_folder == tmp_path
        assert f"{socket.gethostname()}:" not in event.failure.message


def test_full_disk_of_a_node_is_named_with_its_host(tmp_path: Path) -> None:
    event = node_failure_event(plain_task(tmp_path), full_disk(tmp_path))
    assert isinstance(event, TrialFailed) and event.failure.cause == "disk_full"
    assert str(event.full_folder) == f"{socket.gethostname()}:{tmp_path}"
    assert event.full_folder is not None and not event.full_folder.is_absolute()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (DataError("a.png: not an image"), "bad_data"),
        (caused_by(DataError("a.png"), OSError(errno.EIO, "Input/output error")), "crashed"),
        (WeightsError("not in the cache"), "bad_configuration"),
        (ZeroDivisionError("division by zero"), "crashed"),
    ],
)
def test_other_faults_of_inputs(tmp_path: Path, error: Exception, cause: str) -> None:
    event = input_failure_event(plain_task(tmp_path), error)
    assert (event.failure.cause, event.full_folder) == (cause, None)
    assert event.failure.message == f"{type(error).__name__}: {error}"
    assert event.failure.traceback is not None
