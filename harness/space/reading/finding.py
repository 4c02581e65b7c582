"""Find the file of a search space by path or name."""

from importlib import resources
from pathlib import Path

from harness.core.errors import ConfigError, suggest_nearest
from harness.core.paths import Workspace, expand_user_path

SUFFIXES = ("", ".yaml", ".csv")


def find_space(name: str, workspace: Workspace) -> Path:
    """The file of a space: a path, else one of the workspace's spaces, else a shipped one.

    Args:
        name: A path or a name, with or without `.yaml` or `.csv`.
        workspace: The workspace whose `search_spaces/` is searched.

    Raises:
        ConfigError: no file is found; the message names the nearest one, or lists all.
    """
    requested = expand_user_path(name)
    shipped = Path(str(resources.files("harness") / "shipped_spaces"))
    folders = [workspace.search_spaces, shipped.resolve()]
    # An absolute path stays itself behind every folder, so it is never looked up in one.
    for base in [requested, *(folder / requested for folder in folders)]:
        # Path.with_name raises ValueError for a path without a name, such as "." or "/".
        candidates = (
            [base.with_name(f"{base.name}{suffix}") for suffix in SUFFIXES] if base.name else []
        )
        for candidate in candidates:
            if candidate.is_file():
                return candidate
    if requested.exists():
        raise ConfigError(f"{name}: not a file; a search space is a YAML or CSV file")
    raise ConfigError(f"{name}: unknown search space{_suggest_space(requested, folders)}")


def _suggest_space(requested: Path, folders: list[Path]) -> str:
    """End of a message with the nearest name, preferably one of the folder that `requested` names.

    A name of that folder is suggested with the folder, so that the suggestion can be typed.
    """
    siblings = {path.name for path in _space_files(requested.parent)}
    all_names = {path.name for folder in folders for path in _space_files(folder)}
    if requested.parent == Path():
        return suggest_nearest(requested.name, all_names | siblings)
    if suggestion := suggest_nearest(requested.name, siblings, max_listed=0):
        folder = requested.parent.as_posix().rstrip("/")
        return suggestion.replace("mean ", f"mean {folder}/")
    return suggest_nearest(requested.name, all_names)


def _space_files(folder: Path) -> list[Path]:
    """The files of a folder that may be spaces; [] if the folder cannot be read."""
    try:
        return [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES[1:]]
    except OSError:
        return []
