"""Access to the files of existing studies: lookup by name, recorded definition, best trial."""

from harness.config.study import StudyConfig
from harness.core import strict_yaml
from harness.core.errors import ConfigError, UserError, suggest_nearest
from harness.core.paths import StudyPaths, check_study_name
from harness.core.records import TrialRecord, read_records


def open_earlier_study(name: str, paths: StudyPaths) -> tuple[StudyPaths, StudyConfig]:
    """Folder and definition of another study in the same workspace as `paths`.

    Raises:
        UserError: no study of that name exists, or it has not started.
    """
    # Checked before the name becomes part of a path.
    if check_study_name(name) == paths.name:
        raise UserError("a study cannot import from itself; name an earlier one")
    earlier = StudyPaths(paths.root.parent / name)
    require_study_yaml(earlier, exclude=paths.name)
    location = str(earlier.study_yaml)
    value = strict_yaml.load_yaml(
        earlier.study_yaml.read_text(encoding="utf-8"), source=location
    ).value
    # A study.yaml without an id was written by the user, and no run has started it.
    if not isinstance(value, dict) or value.get("id") is None or not earlier.split_csv.is_file():
        raise UserError(f"study {name} has not started yet; run it first, or name another one")
    return earlier, StudyConfig.from_mapping(value, source=location, allow_unregistered=True)


def read_study_config(paths: StudyPaths) -> StudyConfig:
    """Read the definition of a study that was recorded when it started.

    Raises:
        ConfigError: study.yaml does not hold a definition.
    """
    location = str(paths.study_yaml)
    value = strict_yaml.load_yaml(
        paths.study_yaml.read_text(encoding="utf-8"), source=location
    ).value
    if not isinstance(value, dict):
        raise ConfigError(f"{location}: must be a mapping")
    return StudyConfig.from_mapping(value, source=location, allow_unregistered=True)


def require_study_yaml(paths: StudyPaths, exclude: str | None = None) -> None:
    """Refuse a study name without a study.yaml; all commands share this message.

    Args:
        exclude: study that the message must not suggest.

    Raises:
        ConfigError: the message names the folder and the nearest study name.
    """
    if paths.study_yaml.is_file():
        return
    studies = paths.root.parent
    names = {path.parent.name for path in studies.glob("*/study.yaml")} - {exclude}
    hint = suggest_nearest(paths.name, names) or "; start one with `harness run`"
    raise ConfigError(f"there is no study {paths.name} in {studies}{hint}")


def best_trial(earlier: StudyPaths, config: StudyConfig) -> TrialRecord:
    """Best complete trial of a study; the lower number if two values are equal.

    Raises:
        ConfigError: the study has no complete trial.
    """
    best = config.objective.best(read_records(earlier))
    if best is None:
        raise ConfigError(f"study {earlier.name} has no complete trial yet")
    return best
