"""Preparation of the data before the first trial."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import optuna
import pytest

from harness.core.errors import DataError, UserError
from harness.core.paths import Workspace
from harness.core.study_lock import hold_study_lock
from harness.data.scan import near_duplicates
from harness.search.definition import network_checks
from harness.search.definition.options import RunOptions
from harness.search.run import launch as launch_module
from harness.search.run.launch import launch
from harness.search.storage.storage import open_storage
from tests.conftest import TINY
from tests.data.make import folder
from tests.search.fakes import Silence


class Lines(Silence):
    """Progress reporter that keeps every line."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def stage(self, text: str) -> None:
        self.said.append(text)


class EnoughError(UserError):
    """The data is done with."""


def tiny_options(workspace: Path, data: Path, **asked: bool) -> RunOptions:
    arguments = {"study": "s", "space": TINY, "data": data, "device": "cpu", **asked}
    return RunOptions.from_arguments({"workspace": workspace, **arguments})


def launched(workspace: Path, data: Path, monkeypatch: pytest.MonkeyPatch, **asked: bool) -> Lines:
    """Launch up to the point where the split is made."""

    def stop(networks: Sequence[object]) -> None:
        raise EnoughError

    monkeypatch.setattr(network_checks, "ensure_weights", stop)
    lines = Lines()
    with pytest.raises(EnoughError):
        launch(tiny_options(workspace, data, **asked), lines)
    return lines


def test_copies_are_sought_once(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought: list[int] = []
    find = near_duplicates._near_duplicates

    def counted(thumbnails: Sequence[near_duplicates.Thumbnail]) -> list[tuple[int, int]]:
        sought.append(len(thumbnails))
        return list(find(thumbnails))

    monkeypatch.setattr(near_duplicates, "_near_duplicates", counted)
    lines = launched(workspace, folder(tmp_path / "d", 10), monkeypatch)
    assert sought == [10]
    assert "split 8 train, 1 val, 1 test images" in lines.said


def test_many_bad_files_leave_the_remedy_in_sight(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder(tmp_path / "d", 31)
    for path in sorted(data.glob("images/*"))[10:]:
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"21 pairs cannot be used.*--skip-bad$"):
        launch(tiny_options(workspace, data), Silence())
    lines = launched(workspace, data, monkeypatch, skip_bad=True)
    assert "21 of 31 pairs are left out (--skip-bad)" in lines.said


def test_skip_bad_where_all_is_bad_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder(tmp_path / "d", 3)
    for path in (data / "images").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"^\S+/d: none of its 3 pairs can be used; the first: "):
        launched(tmp_path, data, monkeypatch, skip_bad=True)


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "ended"])
def test_study_that_another_process_starts_meanwhile_is_named_as_such(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_running: bool
) -> None:
    """Its entry in the database would look like that of another study of this name."""
    place = Workspace(workspace)
    paths = place.study("s")
    held = ExitStack()

    def start(networks: Sequence[object]) -> None:
        held.enter_context(hold_study_lock(paths))
        optuna.create_study(study_name="s", storage=open_storage(place.optuna_db))
        if not is_running:
            held.close()
            monkeypatch.setattr(launch_module, "study_is_started", lambda paths: True)

    monkeypatch.setattr(network_checks, "ensure_weights", start)
    message = "study s is already running" if is_running else "has just started it"
    with held, pytest.raises(UserError, match=message):
        launch(tiny_options(workspace, folder(tmp_path / "d", 10)), Silence())
