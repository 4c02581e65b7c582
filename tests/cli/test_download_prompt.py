"""A data set that is not here yet: asked for on a terminal, refused elsewhere."""

import sys
from pathlib import Path

import pytest

from harness.cli import download_prompt
from harness.cli.download_prompt import retry_after_download
from harness.config.progress import LineProgress, ProgressReporter
from harness.core.paths import Workspace
from harness.data.datasets.sources import KVASIR, DatasetArchive, NeedsDownloadError


class Missing:
    """A call that needs the data set at its first time."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, progress: ProgressReporter) -> str:
        self.calls += 1
        if self.calls == 1:
            raise NeedsDownloadError(KVASIR)
        return "done"


@pytest.mark.parametrize("stream", ["stdin", "stderr"])
def test_without_a_terminal_the_error_stays(
    stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdin", "stderr"):
        monkeypatch.setattr(getattr(sys, name), "isatty", lambda name=name: name != stream)
    call = Missing()
    with pytest.raises(NeedsDownloadError):
        retry_after_download(call, tmp_path)
    assert call.calls == 1


def test_on_a_terminal_the_call_is_repeated_after_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[tuple[DatasetArchive, Workspace]] = []
    for name in ("stdin", "stderr"):
        monkeypatch.setattr(getattr(sys, name), "isatty", lambda: True)
    monkeypatch.setattr(
        download_prompt, "confirm_and_download", lambda *arguments: downloads.append(arguments)
    )
    call = Missing()
    assert retry_after_download(call, tmp_path) == "done"
    assert call.calls == 2 and downloads == [(KVASIR, Workspace.at(tmp_path))]


def test_question_stands_alone_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live display that is open would write over it."""
    events: list[str] = []

    class Display(LineProgress):
        def close(self) -> None:
            events.append("closed")

    for name in ("stdin", "stderr"):
        monkeypatch.setattr(getattr(sys, name), "isatty", lambda: True)
    monkeypatch.setattr(download_prompt, "open_progress", Display)
    monkeypatch.setattr(
        download_prompt, "confirm_and_download", lambda *arguments: events.append("asked")
    )
    assert retry_after_download(Missing(), tmp_path) == "done"
    assert events == ["closed", "asked", "closed"]
