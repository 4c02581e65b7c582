"""Check of augmentations before the first trial. Albumentations imports torch where it exists."""

from pathlib import Path
from typing import Any

from harness.config.study import TrialConfig
from harness.core.paths import StudyPaths, Workspace
from harness.data.loading.augment import find_steps_folder
from harness.data.loading.augment_check import Size, check_augmentation
from harness.search.definition.component_checks import possible_values
from harness.search.definition.definition import StudyDefinition


def check_augments(
    definition: StudyDefinition, workspace: Workspace, paths: StudyPaths
) -> list[Path]:
    """Run every augmentation that the study can sample, at all image sizes it can have.

    Returns:
        Augmentation files, to be copied into the study.

    Raises:
        ConfigError: an augmentation is invalid or fails; see `check_augmentation`.
    """
    data = definition.config.data
    step_files: list[Path] = []
    for name in possible_values(definition, "data.augment"):
        folder = find_steps_folder(name, [paths.augments, workspace.search_spaces, workspace.root])
        if folder is not None:
            step_files.append(folder / name)
        tiles = possible_values(definition, "data.tile.size")
        sizes = [pair for size in tiles if size is not None for pair in _as_pairs(size)]
        if None in tiles:
            sizes += _sizes_with_augment(definition, name)
        check_augmentation(name, folder=folder, data=data, sizes=sizes)
    return step_files


def _sizes_with_augment(definition: StudyDefinition, name: str) -> list[Size]:
    """Image sizes (height, width) that can be sampled together with an augmentation."""
    space, key, augment = definition.space, "data.image_size", "data.augment"
    if space.rows:
        rows = [space.constants | row for row in space.rows]
        sizes = [row.get(key) for row in rows if row.get(augment) == name]
        return [pair for size in sizes if size is not None for pair in _as_pairs(size)]
    searched = {k: space.by_key[k] for k in (key, augment) if k in space.by_key}
    pairs: list[Size] = []
    for size in possible_values(definition, key):
        values = {k: v for k, v in ((key, size), (augment, name)) if k in searched}
        excluded = any(
            not match.holds(values[condition_key])
            for parameter in searched.values()
            for condition_key, match in parameter.when.items()
            if condition_key in values
        )
        if not excluded and space.matching_rule(values) is None:
            pairs += _as_pairs(size)
    # A size that is searched under a condition on the augmentation has its default elsewhere.
    default = TrialConfig().data.height_width
    is_conditional = key in searched and augment in searched[key].when
    return pairs or ([default] if is_conditional else [])


def _as_pairs(size: Any) -> list[Size]:
    return [(size, size) if isinstance(size, int) else (size[0], size[-1])]
