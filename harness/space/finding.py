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
    known = {path.name for folder in folders for end in ENDS[1:] for path in folder.glob(f"*{end}")}
    raise ConfigError(f"{name}: no such search space{nearest(asked.name, known)}")
