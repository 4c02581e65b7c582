"""Nodes that do not reach the scratch are found before a trial depends on it."""

import os
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.execution.cluster.file_transfer import TransferError
from harness.execution.cluster.scratch_check import ScratchCheck, check_scratch


def test_same_folder_passes_and_nothing_is_left(tmp_path: Path) -> None:
    check = ScratchCheck(str(tmp_path))
    check_scratch(str(tmp_path), check.name)
    check.close()
    assert list(tmp_path.iterdir()) == []


def test_another_folder_of_the_same_name_is_refused(tmp_path: Path) -> None:
    check = ScratchCheck(str(tmp_path / "mine"))
    with pytest.raises(UserError, match="not the folder that the controller's machine has"):
        check_scratch(str(tmp_path / "other"), check.name)
    check.close()


def test_folder_that_this_machine_cannot_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose a folder or URL that can be written"):
        ScratchCheck(str(tmp_path / "file"))


def test_folder_that_a_node_cannot_write_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = ScratchCheck(str(tmp_path))

    def refuse(path: str, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "makedirs", refuse)
    with pytest.raises(TransferError, match="Permission denied"):
        check_scratch(str(tmp_path), check.name)


def test_credentials_in_the_url_are_refused_before_any_node_sees_them() -> None:
    with pytest.raises(UserError, match="contains credentials") as caught:
        ScratchCheck("s3://me:hunter2@bucket/x")
    assert "hunter2" not in str(caught.value)
