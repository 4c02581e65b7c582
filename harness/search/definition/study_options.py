"""From the options of a call to the folder, the space and the definition of its study.

Nothing here imports a network library, so that mistakes in options and files are found at once.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.study_files import require_study_yaml
from harness.config.user_code import PartsFile
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.study_lock import refuse_if_locked
from harness.search.definition.definition import StudyDefinition, resolve_definition
from harness.search.definition.network_library import NetworkNameChecks, allowed_values
from harness.search.definition.options import RunOptions
from harness.search.definition.study_parts import parts_override
from harness.space.reading.load_space import find_space


def find_option_space(options: RunOptions) -> Path | Mapping[str, Any] | None:
    """The space of `--space`: the path of the named file, or the mapping itself."""
    space = options.search.space
    return find_space(space, options.stores.workspace) if isinstance(space, str) else space


def locate_study(options: RunOptions) -> StudyPaths:
    """The folder of the study to run: of `--study`, or of the stem of the space file.

    Raises:
        ConfigError: neither was given, or the name is not legal.
        UserError: another process is running the study.
    """
    name, space = options.search.study, find_option_space(options)
    if name is None:
        if not isinstance(space, Path):
            raise ConfigError(
                "the study needs a name: give --study, or a --space file to name it after"
            )
        name = space.stem
    paths = options.stores.workspace.study(name)
    # Early and without holding the lock, for a quick
    # answer; `launch` takes the lock itself later.
    refuse_if_locked(paths)
    return paths


def locate_checked_study(options: RunOptions) -> tuple[str, StudyPaths]:
    """Name of the study or the space to check, and the study's folder, which need not exist.

    Raises:
        ConfigError: no study has that name, or no space file.
    """
    space, workspace = find_option_space(options), options.stores.workspace
    if options.search.study is not None:
        paths = workspace.study(options.search.study)
        if space is None:
            require_study_yaml(paths)
        return options.search.study, paths
    name = space.stem if isinstance(space, Path) else "space"
    # A study of this name may have started with another space; no study's name starts with a dot.
    return name, StudyPaths(workspace.studies / f".{name}")


def resolve_options(
    options: RunOptions, paths: StudyPaths, parts: PartsFile | None, networks: NetworkNameChecks
) -> StudyDefinition:
    """Definition of a study from its files and the options of this call.

    Raises:
        ConfigError: a setting is not allowed, or a started study would change.
    """
    search = options.search
    return resolve_definition(
        paths,
        space=find_option_space(options),
        overrides=search.overrides | parts_override(parts),
        fixed=search.fixed,
        legal=allowed_values(networks),
        label=search.label,
        ignore=search.ignore,
    )
