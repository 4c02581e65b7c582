"""The file of a study's own networks, losses and metrics: found, read and registered."""

from pathlib import Path

from harness import strict_yaml
from harness.errors import ConfigError
from harness.parts_files import PARTS_FILE, PartsConfig, PartsFile, parts_config, read_parts
from harness.parts_files import use_parts as register
from harness.paths import StudyPaths
from harness.settings import validate


def take_parts(paths: StudyPaths, asked: Path | None) -> PartsFile | None:
    """Register the parts that a study names; None: it has none.

    Args:
        asked: `--parts`: a file, wherever it lies; None: the one that study.yaml names.

    Raises:
        ConfigError: no such file, one that the study did not begin with, or what is wrong in it.
    """
    recorded = _recorded(paths)
    path = None if recorded is None else paths.parts(recorded.file)
    if asked is not None:
        path = asked.resolve()
        if not PARTS_FILE.fullmatch(path.name):
            raise ConfigError(f"--parts {asked}: must be a .py file with a plain name")
    if path is None:
        register(None)
        return None
    file = read_parts(path)
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


def as_asked(file: PartsFile | None) -> dict[str, dict[str, str]]:
    """What study.yaml says of a file, with its digest as it is now."""
    if file is None:
        return {}
    return {"parts": {"file": file.path.name, "sha256": file.sha256}}


def _recorded(paths: StudyPaths) -> PartsConfig | None:
    """What study.yaml says of parts; None: nothing, or it is not there."""
    if not paths.study_yaml.exists():
        return None
    place = str(paths.study_yaml)
    study = strict_yaml.load(paths.study_yaml.read_text(encoding="utf-8"), place=place).value
    value = parts_config(study.get("parts")) if isinstance(study, dict) else None
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ConfigError(f"{place}: parts: must be the name of a .py file beside study.yaml")
    return validate(PartsConfig, value, f"{place}: parts")
