"""File of user-defined components of a study: read, compared with the record, registered."""

from pathlib import Path

from harness.config.user_code import (
    PARTS_FILE_NAME,
    PartsConfig,
    PartsFile,
    expand_parts_config,
    read_parts_file,
    register_parts_file,
)
from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.settings import validate_settings


def load_study_parts(paths: StudyPaths, parts_path: Path | None) -> PartsFile | None:
    """Read and register the parts file of a study.

    Args:
        paths: folder of the study.
        parts_path: file of `--parts`; None selects the file that study.yaml names.

    Returns:
        None if the study has no parts file.

    Raises:
        ConfigError: the file does not exist, is invalid, or differs from the recorded one.
    """
    recorded = read_parts_config(paths)
    path = None if recorded is None else paths.parts(recorded.file)
    if parts_path is not None:
        path = parts_path.resolve()
        if not PARTS_FILE_NAME.fullmatch(path.name):
            raise ConfigError(
                f"--parts {parts_path}: must be a .py file named with letters, digits, - and _ only"
            )
    if path is None:
        register_parts_file(None)
        return None
    file = read_parts_file(path)
    if recorded is not None and recorded.sha256 not in (None, file.sha256):
        # Checked before registration, which executes the file.
        raise ConfigError(
            [
                f"study {paths.name} has started and must not change; this would change it:",
                f"  parts.sha256: {recorded.sha256!r} -> {file.sha256!r}",
                f"restore {path}, or start a new study under another name with --study",
            ]
        )
    register_parts_file(file)
    return file


def parts_override(file: PartsFile | None) -> dict[str, dict[str, str]]:
    """Entry of study.yaml for a parts file, with its current digest."""
    if file is None:
        return {}
    return {"parts": {"file": file.path.name, "sha256": file.sha256}}


def read_parts_config(paths: StudyPaths) -> PartsConfig | None:
    """Entry `parts` of study.yaml; None if the entry or the file is absent."""
    if not paths.study_yaml.exists():
        return None
    location = str(paths.study_yaml)
    study = strict_yaml.load_yaml(
        paths.study_yaml.read_text(encoding="utf-8"), source=location
    ).value
    value = expand_parts_config(study.get("parts")) if isinstance(study, dict) else None
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ConfigError(
            f"{location}: parts: must be the name of a .py file in the folder of study.yaml"
        )
    return validate_settings(PartsConfig, value, f"{location}: parts")
