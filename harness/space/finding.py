"""Where a search space is looked for."""

from importlib import resources
from pathlib import Path

from harness.errors import ConfigError, nearest
from harness.paths import Workspace


def find_space(name: str, workspace: Workspace) -> Path:
    """The file of a space: as a path, in the workspace's search_spaces, then among the shipped.

    Args:
        name: A path or a name, with or without `.yaml`.
        workspace: Whose `search_spaces/` is looked through.

    Raises:
        ConfigError: there is none; the message names the nearest, or all there are.
    """
    asked = Path(name).expanduser()
    shipped = Path(str(resources.files("harness") / "shipped_spaces"))
    folders = [workspace.search_spaces, shipped.resolve()]
    for place in [asked, *(folder / asked for folder in folders)]:
        for candidate in (place, place.with_name(f"{place.name}.yaml")) if place.name else ():
            if candidate.is_file():
                return candidate
    if asked.exists():
        raise ConfigError(f"{name}: not a file; a search space is a YAML file")
    known = {path.name for folder in folders for path in folder.glob("*.yaml")}
    raise ConfigError(f"{name}: no such search space{nearest(asked.name, known)}")
