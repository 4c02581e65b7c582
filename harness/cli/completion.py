"""Values that the shell completes: names of studies, files of search spaces, archives."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.core.errors import HarnessError
from harness.core.paths import Workspace
from harness.space.shipped import shipped_spaces

_SUFFIXES = (".yaml", ".csv")
_STUDY_OPTIONS = ("--study", "--from", "--prior", "--baseline")
LENIENT = {"ignore_unknown_options": True, "allow_extra_args": True}


def complete_study(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the workspace's studies that begin with `incomplete`."""
    workspace = _workspace(context)
    if workspace is None or not workspace.studies.is_dir():
        return []
    names = (path.parent.name for path in workspace.studies.glob("*/study.yaml"))
    return sorted(name for name in names if name.startswith(incomplete))


StudyArgument = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="Name of the study.", autocompletion=complete_study),
]


def complete_other_study(context: typer.Context, incomplete: str) -> list[str]:
    """Names of studies as `complete_study`, without those that the command line has already."""
    given = context.params.get("studies") or []
    return [name for name in complete_study(context, incomplete) if name not in given]


def complete_archive(incomplete: str) -> list[str]:
    """Tar files and folders whose path begins with `incomplete`."""
    return sorted(path for path in _paths(incomplete, (".tar",)) if path.startswith(incomplete))


def complete_space(context: typer.Context, incomplete: str) -> list[str]:
    """Space files that begin with `incomplete`: paths, and names of spaces that `--space` finds."""
    workspace = _workspace(context)
    folders = [] if workspace is None else [workspace.search_spaces, shipped_spaces()]
    names = [name for folder in folders for name in _files(folder, _SUFFIXES)]
    paths = _paths(incomplete, _SUFFIXES)
    return sorted({name for name in [*paths, *names] if name.startswith(incomplete)})


def completes_value(words: Sequence[str]) -> bool:
    """True if the last words of a command line ask for a study or a space file."""
    return bool({*_STUDY_OPTIONS, "--space"} & set(words[-2:]))


def value_command(
    study: Annotated[
        str | None, typer.Option(*_STUDY_OPTIONS, autocompletion=complete_study)
    ] = None,
    space: Annotated[str | None, typer.Option(autocompletion=complete_space)] = None,
    workspace: Path = Path(),
) -> None:
    """Stand in for any command while a shell completes a value.

    The module of the command itself may import pandas, which takes longer than a user waits for
    a proposal.
    """


def _workspace(context: typer.Context) -> Workspace | None:
    # A shell shows messages of a completion as if they were proposals, so there are none.
    try:
        return Workspace.at(context.params.get("workspace") or Path())
    except (HarnessError, OSError):
        return None


def _paths(incomplete: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Files with these suffixes and folders, in the folder that was typed so far."""
    typed, slash, _ = incomplete.rpartition("/")
    folder = Path(f"{typed}{slash}")
    prefix = f"{typed}{slash}"
    yield from (f"{prefix}{name}" for name in _files(folder, suffixes))
    if folder.is_dir():
        yield from (
            f"{prefix}{path.name}/"
            for path in folder.iterdir()
            if path.is_dir() and not path.name.startswith(".")
        )


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    if not folder.is_dir():
        return []
    return [path.name for path in folder.iterdir() if path.suffix.lower() in suffixes]
