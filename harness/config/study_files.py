"""Studies that a new one builds on: found by name beside it, read from their folders."""

import math

from harness.config.study import StudyConfig
from harness.core import strict_yaml
from harness.core.errors import ConfigError, UserError, suggest_nearest
from harness.core.paths import StudyPaths, check_study_name
from harness.core.records import TrialRecord, read_records


def open_earlier_study(name: str, paths: StudyPaths) -> tuple[StudyPaths, StudyConfig]:
    """Folder and definition of another study in the same workspace as `paths`.

    Raises:
        UserError: there is none of that name that has begun; the message tells the nearest.
    """
    if check_study_name(name) == paths.name:
        raise UserError("a study cannot build on itself; name an earlier one")
    earlier = StudyPaths(paths.root.parent / name)
    if not earlier.study_yaml.is_file():
        study_names = [p.parent.name for p in paths.root.parent.glob("*/study.yaml")]
        study_names = [study_name for study_name in study_names if study_name != paths.name]
        raise UserError(
            f"no such study{suggest_nearest(name, study_names) or f' in {paths.root.parent}'}"
        )
    location = str(earlier.study_yaml)
    value = strict_yaml.load_yaml(
        earlier.study_yaml.read_text(encoding="utf-8"), source=location
    ).value
    if not isinstance(value, dict) or value.get("id") is None or not earlier.split_csv.is_file():
        raise UserError(f"study {name} has not begun")
    return earlier, StudyConfig.from_mapping(value, source=location, allow_unregistered=True)


def read_study_config(paths: StudyPaths) -> StudyConfig:
    """The recorded definition of a study. Raises ConfigError where it is not one."""
    location = str(paths.study_yaml)
    value = strict_yaml.load_yaml(
        paths.study_yaml.read_text(encoding="utf-8"), source=location
    ).value
    if not isinstance(value, dict):
        raise ConfigError(f"{location}: must be a mapping")
    return StudyConfig.from_mapping(value, source=location, allow_unregistered=True)


def require_study_yaml(paths: StudyPaths) -> None:
    """Raises ConfigError where a study that was named has no study.yaml; it tells the nearest."""
    if not paths.study_yaml.is_file():
        study_names = [path.parent.name for path in paths.root.parent.glob("*/study.yaml")]
        raise ConfigError(
            f"--study {paths.name}: no study.yaml in "
            f"{paths.root}{suggest_nearest(paths.name, study_names)}"
        )


def best_trial(earlier: StudyPaths, config: StudyConfig) -> TrialRecord:
    """The trial whose settings others take: the best complete one; of equals the earlier.

    This is the one place that decides it.

    Raises:
        ConfigError: the study has no complete trial.
    """
    sign = 1.0 if config.objective.direction == "minimize" else -1.0
    complete = [
        (sign * record.value, record.number, record)
        for record in read_records(earlier)
        if record.state == "complete" and record.value is not None and math.isfinite(record.value)
    ]
    if not complete:
        raise ConfigError(f"study {earlier.name} has no complete trial yet")
    return min(complete)[2]
