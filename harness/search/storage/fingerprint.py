"""What a study was begun with, kept in Optuna too: study.yaml is text that anyone can edit."""

from typing import Any

import optuna

from harness.core import files
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.search.definition.definition import StudyDefinition, config_differences

DEFINITION_ATTR = "harness.definition"  # of an Optuna study
# Of these, keys may come and go by hand; all others are spelt out, and new ones a new version's.
_VARIABLE_PREFIXES = ("fixed.", "space_yaml.", "files.")


def check_definition_unchanged(
    study: optuna.Study, paths: StudyPaths, definition: StudyDefinition
) -> None:
    """Refuse a definition that was edited since the study began; note it when it is new.

    Raises:
        ConfigError: every difference, as recorded and as it is now.
    """
    current = _fingerprint(paths, definition)
    recorded = study.user_attrs.get(DEFINITION_ATTR)
    if recorded is None:
        study.set_user_attr(DEFINITION_ATTR, current)
        return
    changes = [
        line
        for line in config_differences(recorded, current)
        if line.startswith(_VARIABLE_PREFIXES) or ": 'absent' -> " not in line
    ]
    if changes:
        raise ConfigError(
            [
                f"the files of study {paths.name} were changed after it had begun:",
                *(f"  {line}" for line in changes),
                "put them back, or start a new study: give it another name with --study",
            ]
        )


def _fingerprint(paths: StudyPaths, definition: StudyDefinition) -> dict[str, Any]:
    """The definition but for where its images lie, and the hashes of the files it names."""
    facts = definition.config.definition()
    del facts["data"]["root"]
    hashed_files = [paths.split_csv, *sorted(paths.augments.glob("*"))]
    if (
        paths.is_confirmation
    ):  # its rows may become more; those that are trained are compared elsewhere
        hashed_files += sorted(paths.root.glob("split-*.csv"))
        space: dict[str, Any] = {}
    else:
        space = definition.recorded_space.as_dict()
    hashes = {path.name: files.file_sha256(path) for path in hashed_files if path.is_file()}
    return facts | {"space_yaml": space, "files": hashes}
