"""The file of a study's own networks, losses and metrics: found, read and registered."""

from pathlib import Path

from harness.config.user_code import (
    PARTS_FILE_NAME,
    PartsConfig,
    PartsFile,
    expand_parts_config,
    read_parts_file,
)
from harness.config.user_code import register_parts_file as register
from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.core.settings import validate_settings


def load_study_parts(paths: StudyPaths, parts_path: Path | None) -> PartsFile | None:
    """Register the parts that a study names; None: it has none.

    Args:
        parts_path: `--parts`: a file, wherever it lies; None: the one that study.yaml names.

    Raises:
        ConfigError: no such file, one that the study did not begin with, or what is wrong in it.
    """
    recorded = _read_parts_config(paths)
    path = None if recorded is None else paths.parts(recorded.file)
    if parts_path is not None:
        path = parts_path.resolve()
        if not PARTS_FILE_NAME.fullmatch(path.name):
            raise ConfigError(f"--parts {parts_path}: must be a .py file with a plain name")
    if path is None:
        register(None)
        return None
    file = read_parts_file(path)
    if recorded is not None and recorded.sha256 not in (None, file.sha256):
        raise ConfigError(  # before it is executed
            [
                f"study {paths.name} has begun, and a study never changes; this would change it:",
                f"  parts.sha256: {recorded.sha256!r} -> {file.sha256!r}",
                f"bring {path} back as it was, or start a new study: another name with --study",
            ]
        )
    register(file)
    return file


def parts_override(file: PartsFile | None) -> dict[str, dict[str, str]]:
    """What study.yaml says of a file, with its digest as it is now."""
    if file is None:
        return {}
    return {"parts": {"file": file.path.name, "sha256": file.sha256}}


def _read_parts_config(paths: StudyPaths) -> PartsConfig | None:
    """What study.yaml says of parts; None: nothing, or it is not there."""
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
        raise ConfigError(f"{location}: parts: must be the name of a .py file beside study.yaml")
    return validate_settings(PartsConfig, value, f"{location}: parts")
