"""Where a search space is looked for."""

from importlib import resources
from pathlib import Path

from harness.errors import ConfigError, nearest
from harness.paths import Workspace, user_path

ENDS = ("", ".yaml", ".csv")


def find_space(name: str, workspace: Workspace) -> Path:
    """The file of a space: as a path, in the workspace's search_spaces, then among the shipped.

    Args:
        name: A path or a name, with or without `.yaml` or `.csv`.
        workspace: Whose `search_spaces/` is looked through.

    Raises:
        ConfigError: there is none; the message names the nearest, or all there are.
    """
    asked = user_path(name)
    shipped = Path(str(resources.files("harness") / "shipped_spaces"))
    folders = [workspace.search_spaces, shipped.resolve()]
    for place in [asked, *(folder / asked for folder in folders)]:
        beside = [place.with_name(f"{place.name}{end}") for end in ENDS] if place.name else []
        for candidate in beside:
            if candidate.is_file():
                return candidate
    if asked.exists():
        raise ConfigError(f"{name}: not a file; a search space is a YAML or CSV file")
    raise ConfigError(f"{name}: no such search space{_nearest(asked, folders)}")


def _nearest(asked: Path, folders: list[Path]) -> str:
    """The nearest name, first of the folder that was named, then of all; with its folder."""
    beside = {path.name for path in _spaces(asked.parent)}
    everywhere = {path.name for folder in folders for path in _spaces(folder)}
    if asked.parent == Path():
        return nearest(asked.name, everywhere | beside)
    if alike := nearest(asked.name, beside, most=0):
        folder = asked.parent.as_posix().rstrip("/")
        return alike.replace("mean ", f"mean {folder}/")
    return nearest(asked.name, everywhere)


def _spaces(folder: Path) -> list[Path]:
    """The files of a folder that may be spaces; [] where it cannot be read."""
    try:
        return [path for path in folder.iterdir() if path.suffix.lower() in ENDS[1:]]
    except OSError:
        return []
