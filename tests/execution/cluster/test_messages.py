import pytest
from pydantic import ValidationError

from harness.execution.cluster.file_receiver import is_writable_path
from harness.execution.cluster.messages import (
    AgentReport,
    FileChunk,
    FileEntry,
    check_relative_path,
)
from harness.execution.protocol import EpochReport

HOSTILE = [
    *("", ".", "..", "/etc/passwd", "../trial.json", "best/../../x", "a//b", "a/", "./a"),
    *("a\\..\\b", "C:/x", "C:x", "a\0b", "a\nb", "a\x1b[2J", "x" * 300, "a/" * 600 + "b"),
]


@pytest.mark.parametrize("path", HOSTILE)
def test_paths_that_leave_their_folder_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a relative path inside its folder"):
        check_relative_path(path)
    with pytest.raises(ValidationError):
        FileEntry(path=path, size=0, sha256="0" * 64)
    with pytest.raises(ValidationError):
        FileChunk(number=0, attempt=1, path=path, mode="replace", offset=0, size=0)


@pytest.mark.parametrize(
    "path", ["a", "best/model/config.json", "snapshots/ab12/model.safetensors"]
)
def test_paths_inside_their_folder_are_allowed(path: str) -> None:
    assert check_relative_path(path) == path


@pytest.mark.parametrize(
    ("path", "writable"),
    [
        ("epochs.jsonl", True),
        ("checkpoint", True),
        ("overlays/1-0.png", True),
        ("best/model/model.safetensors", True),
        ("trial.json", False),  # the controller's record
        ("config.yaml", False),
        ("overlays", False),  # a file where a folder must be
        ("checkpoint/x", False),
        ("best/.model.12.tmp/config.json", False),
        ("best/model.tmp", False),
        (".checkpoint.1.tmp", False),
    ],
)
def test_agents_write_files_of_workers_only(path: str, writable: bool) -> None:
    assert is_writable_path(path) is writable


def test_hash_must_be_a_hash() -> None:
    with pytest.raises(ValidationError):
        FileEntry(path="a", size=0, sha256="../../x")
    with pytest.raises(ValidationError):
        FileEntry(path="a", size=-1, sha256="0" * 64)


def test_report_survives_the_way_as_text() -> None:
    event = EpochReport(number=3, attempt=2, metrics={"epoch": 1, "val/dice": 0.1 + 0.2})
    report = AgentReport(event=event, files=("epochs.jsonl",), n_bytes=7, note="n")
    assert AgentReport.model_validate_json(report.model_dump_json()) == report
