"""Downloads that a command offers: size and terms are shown, and the user is asked.

Apart from `harness data`, because `run` and `lr-find` offer downloads, too. NumPy and OpenCV are
imported late: `run` first starts a worker, which imports torch in the meantime.
"""

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from harness.cli.display import open_progress
from harness.config.progress import ProgressReporter
from harness.core.errors import DataError
from harness.core.paths import Workspace

if TYPE_CHECKING:
    from harness.data.datasets.sources import DatasetArchive

Result = TypeVar("Result")


def retry_after_download(call: Callable[[ProgressReporter], Result], workspace: Path) -> Result:
    """Result of `call`; if it needs a data set, offer the download and call it once more.

    Args:
        call: receives a display of its own each time: a live one would write over the question.

    Raises:
        NeedsDownloadError: there is no terminal to ask on.
    """
    try:
        return _call_with_display(call)
    except DataError as error:
        from harness.data.datasets.sources import NeedsDownloadError  # noqa: PLC0415  # OpenCV

        # Not standard output: the question goes to standard error, and the results may be piped.
        has_terminal = sys.stdin.isatty() and sys.stderr.isatty()
        if not (isinstance(error, NeedsDownloadError) and has_terminal):
            raise
        confirm_and_download(error.archive, Workspace.at(workspace))
        # Once only: if data are missing after a complete download, asking again would not help.
        return _call_with_display(call)


def _call_with_display(call: Callable[[ProgressReporter], Result]) -> Result:
    # closing: after an exception rich's live display would leave the cursor hidden.
    with closing(open_progress()) as progress:
        return call(progress)


def confirm_and_download(
    archive: "DatasetArchive", workspace: Workspace, *, ask: bool = True
) -> None:
    """Show address, size and terms of a data set, ask, and download it.

    Raises:
        typer.Abort: the user declined.
        DataError: the file differs from the published one.
    """
    typer.echo(f"{archive.name}: {archive.url}, {archive.n_bytes / 1e6:.1f} MB", err=True)
    typer.echo(f"terms: {archive.terms} ({archive.page})", err=True)
    if ask:
        typer.confirm("Download it?", abort=True, err=True)
    from harness.data.datasets.download import download_kvasir  # noqa: PLC0415  # imports OpenCV

    with closing(open_progress()) as progress:
        path = download_kvasir(workspace.data, progress=progress.bar(f"downloading {archive.name}"))
    typer.echo(f"{archive.name} is in {path}")
