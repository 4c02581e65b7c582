"""Studies that a new one builds on: found by name beside it, read from their folders."""

import math

from harness import strict_yaml
from harness.config import StudyConfig
from harness.errors import ConfigError, UserError, nearest
from harness.paths import StudyPaths, check_study_name
from harness.records import TrialRecord, read_records


def open_earlier(name: str, paths: StudyPaths) -> tuple[StudyPaths, StudyConfig]:
    """Folder and definition of another study in the same workspace as `paths`.

    Raises:
        UserError: there is none of that name that has begun; the message tells the nearest.
    """
    if check_study_name(name) == paths.name:
        raise UserError("a study cannot build on itself; name an earlier one")
    earlier = StudyPaths(paths.root.parent / name)
    if not earlier.study_yaml.is_file():
        known = [p.parent.name for p in paths.root.parent.glob("*/study.yaml")]
        known = [other for other in known if other != paths.name]
        raise UserError(f"no such study{nearest(name, known) or f' in {paths.root.parent}'}")
    place = str(earlier.study_yaml)
    value = strict_yaml.load(earlier.study_yaml.read_text(encoding="utf-8"), place=place).value
    if not isinstance(value, dict) or value.get("id") is None or not earlier.split_csv.is_file():
        raise UserError(f"study {name} has not begun")
    return earlier, StudyConfig.from_mapping(value, place=place, any_part=True)


def read_config(paths: StudyPaths) -> StudyConfig:
    """The recorded definition of a study. Raises ConfigError where it is not one."""
    place = str(paths.study_yaml)
    value = strict_yaml.load(paths.study_yaml.read_text(encoding="utf-8"), place=place).value
    if not isinstance(value, dict):
        raise ConfigError(f"{place}: must be a mapping")
    return StudyConfig.from_mapping(value, place=place, any_part=True)


def check_begun_or_written(paths: StudyPaths) -> None:
    """Raises ConfigError where a study that was named has no study.yaml; it tells the nearest."""
    if not paths.study_yaml.is_file():
        known = [path.parent.name for path in paths.root.parent.glob("*/study.yaml")]
        raise ConfigError(
            f"--study {paths.name}: no study.yaml in {paths.root}{nearest(paths.name, known)}"
        )


def winner(earlier: StudyPaths, config: StudyConfig) -> TrialRecord:
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
