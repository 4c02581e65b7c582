"""Settings of a study that `harness data inspect --study` uses: its data block and its sizes."""

from typing import Any, Final

from harness.config.data import StudyDataConfig
from harness.config.study import TrialConfig
from harness.core import strict_yaml
from harness.core.errors import ConfigError
from harness.core.paths import STUDY_NAME, StudyPaths, Workspace, expand_user_path
from harness.core.settings import validate_settings
from harness.data.scan.size_ceiling import TrainingSize

# Sizes whose ceilings are measured without a study, as spaces often draw them.
DEFAULT_SIZES: Final = (128, 256, 512, 1024)


def load_data_config(study: str | None, root: str, workspace: Workspace) -> StudyDataConfig:
    """The data: block of a study or file; without one the defaults."""
    if study is None:
        return StudyDataConfig(root=root)
    path = expand_user_path(study)
    # --study takes a name or a file; a file of that name is preferred.
    if STUDY_NAME.fullmatch(study) and not path.is_file():
        path = workspace.study(study).study_yaml
    if not path.is_file():
        raise ConfigError(f"--study {study}: neither a study in {workspace.studies} nor a file")
    content = strict_yaml.load_yaml(path.read_text(encoding="utf-8"), source=str(path)).value
    block = content.get("data", {}) if isinstance(content, dict) else None
    if not isinstance(block, dict):
        raise ConfigError(f"{path}: data: must be a group of settings")
    return validate_settings(StudyDataConfig, block, f"{path}: data")


def study_paths(study: str | None, workspace: Workspace) -> StudyPaths | None:
    """Folder of a study that `--study` names; None if it names a file, or nothing."""
    return workspace.study(study) if study and STUDY_NAME.fullmatch(study) else None


def training_sizes(paths: StudyPaths | None) -> list[TrainingSize]:
    """Training sizes that a study's files set or search; without any DEFAULT_SIZES, stretched."""
    sizes = [] if paths is None else _setting_values(paths, "data.image_size")
    fits = [] if paths is None else _setting_values(paths, "data.fit")
    configs = [
        TrialConfig.from_flat({"data.image_size": size, "data.fit": fit}, source="data").data
        for size in sizes or DEFAULT_SIZES
        for fit in fits or ["stretch"]
    ]
    return list(dict.fromkeys((config.height_width, config.fit) for config in configs))


def has_tiles(paths: StudyPaths | None) -> bool:
    """True if a study's files set or search the size of tiles."""
    return paths is not None and bool(_setting_values(paths, "data.tile.size"))


def image_size(paths: StudyPaths) -> tuple[int, int] | None:
    """First height and width that a study trains at; None if its files set none."""
    for size in _setting_values(paths, "data.image_size"):
        return TrialConfig.from_flat({"data.image_size": size}, source="data").data.height_width
    return None


def _setting_values(paths: StudyPaths, key: str) -> list[Any]:
    """Values of a setting in the files of a study: fixed, the choices, or both ends of a range."""
    # Either file may set it: study.yaml fixes it, space.yaml searches it.
    values: list[Any] = []
    for path in (paths.study_yaml, paths.space_yaml):
        if not path.is_file():
            continue
        content = strict_yaml.load_yaml(path.read_text(encoding="utf-8"), source=str(path)).value
        groups = content if isinstance(content, dict) else {}
        fixed, parameters = (groups.get(name) or {} for name in ("fixed", "parameters"))
        searched = parameters.get(key) or {}
        ends = [searched.get("low"), searched.get("high")]
        values += [fixed.get(key), *(searched.get("choices") or ends)]
    return [value for value in values if value is not None]
