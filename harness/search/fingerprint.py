"""What a study was begun with, kept in Optuna too: study.yaml is text that anyone can edit."""

from typing import Any

import optuna

from harness import files
from harness.errors import ConfigError
from harness.paths import StudyPaths
from harness.search.definition import Definition, differences

DEFINITION = "harness.definition"  # of an Optuna study
# Of these, keys may come and go by hand; all others are spelt out, and new ones a new version's.
_FREE = ("fixed.", "space_yaml.", "files.")


def check_unchanged(study: optuna.Study, paths: StudyPaths, definition: Definition) -> None:
    """Refuse a definition that was edited since the study began; note it when it is new.

    Raises:
        ConfigError: every difference, as recorded and as it is now.
    """
    now = _facts(paths, definition)
    before = study.user_attrs.get(DEFINITION)
    if before is None:
        study.set_user_attr(DEFINITION, now)
        return
    changes = [
        line
        for line in differences(before, now)
        if line.startswith(_FREE) or ": 'absent' -> " not in line
    ]
    if changes:
        raise ConfigError(
            [
                f"the files of study {paths.name} were changed after it had begun:",
                *(f"  {line}" for line in changes),
                "put them back, or start a new study: give it another name with --study",
            ]
        )


def _facts(paths: StudyPaths, definition: Definition) -> dict[str, Any]:
    """The definition but for where its images lie, and the hashes of the files it names."""
    facts = definition.config.definition()
    del facts["data"]["root"]
    named = [paths.split_csv, *sorted(paths.augments.glob("*"))]
    if paths.confirms:  # its rows may become more; those that are trained are compared elsewhere
        named += sorted(paths.root.glob("split-*.csv"))
        space: dict[str, Any] = {}
    else:
        space = definition.recorded.as_dict()
    hashes = {path.name: files.sha256(path) for path in named if path.is_file()}
    return facts | {"space_yaml": space, "files": hashes}
