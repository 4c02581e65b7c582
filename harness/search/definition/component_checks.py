"""Checks of networks, losses and augmentations before the first trial."""

import time
from pathlib import Path
from typing import Any

from harness.config.loss import loss_names
from harness.config.progress import ProgressReporter
from harness.config.study import ModelConfig, TrialConfig
from harness.core.paths import StudyPaths, Workspace
from harness.core.text import count
from harness.data.loading.augment import find_steps_folder
from harness.data.loading.augment_check import Size, check_augmentation
from harness.models.registry import takes_encoder
from harness.preflight.combinations import MAX_NETWORKS
from harness.preflight.network_key import PreflightSetting
from harness.preflight.network_table import NetworkTable, PreflightCallback, build_network_table
from harness.search.definition.definition import StudyDefinition
from harness.space.space import Categorical
from harness.training.loss.task_checks import check_loss_for_task, check_objective_for_task

BAR_DELAY_S = 2.0  # a shorter build shows no bar


def check_networks(
    definition: StudyDefinition, n_train: int | None, on_progress: PreflightCallback | None = None
) -> NetworkTable:
    """Build every network that the study can sample, or a random selection of very many.

    Args:
        definition: definition of the study.
        n_train: number of training images; None if not known yet.
        on_progress: called with (number of built networks, total).
    """
    # The number of grid trials is fixed in advance, so all impossible points must be known.
    limit = None if definition.config.sampler.name == "grid" else MAX_NETWORKS
    setting = PreflightSetting.from_data(definition.config.data, n_train)
    return build_network_table(definition.space, setting, limit=limit, on_progress=on_progress)


def delayed_bar(progress: ProgressReporter) -> PreflightCallback:
    """Progress bar for building networks, shown only if it takes more than BAR_DELAY_S."""
    start_s, bars = time.monotonic(), list[PreflightCallback]()

    def report(n_done: int, total: int | None) -> None:
        if not bars and time.monotonic() - start_s > BAR_DELAY_S:
            networks = "networks" if total is None else count(total, "network")
            bars.append(progress.bar(f"building {networks}, without memory"))
        for bar in bars:
            bar(n_done, total)

    return report


def pretrained_models(table: NetworkTable) -> list[ModelConfig]:
    """One model for each set of pretrained weights that a possible combination uses."""
    return [
        ModelConfig.model_validate({"encoder_name": name, "encoder_weights": weights})
        for name, weights in table.pretrained_encoders
    ]


def may_use_weights(definition: StudyDefinition) -> bool:
    """True if some trial of the study may begin with pretrained weights."""
    weights = possible_values(definition, "model.encoder_weights")
    return any(name is not None for name in weights) and any(
        takes_encoder(arch) for arch in possible_values(definition, "model.arch")
    )


def check_losses(definition: StudyDefinition) -> None:
    """Check that all parts of the loss and the objective fit the task.

    A setting such as class weights acts with some samples only, so each of its values is checked
    together with the largest weight of every searched loss.

    Raises:
        ConfigError: a loss, one of its settings or the objective does not fit the task.
    """
    data, space = definition.config.data, definition.space
    check_objective_for_task(definition.config.objective, data)
    fixed_losses = {key: value for key, value in space.constants.items() if key.startswith("loss.")}
    searched = [key for key in space.by_key if key.startswith("loss.")]
    weights = [key for key in searched if key.removeprefix("loss.") in loss_names()]
    # A weight of 0 switches its loss off and would hide that the loss does not fit the task.
    largest = {key: max(possible_values(definition, key)) for key in weights}
    others = [key for key in searched if key not in largest]
    # One setting at a time: the settings of losses are checked independently of each other.
    for values in [
        {key: value} for key in others for value in possible_values(definition, key)
    ] or [{}]:
        check_loss_for_task(TrialConfig.from_flat(fixed_losses | largest | values).loss, data)


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


def possible_values(definition: StudyDefinition, key: str) -> list[Any]:
    """Values that a key can take in this study; of a numeric range its two ends."""
    listed = [row[key] for row in definition.space.rows if key in row]
    if listed:
        return [value for i, value in enumerate(listed) if value not in listed[:i]]
    for parameter in definition.space.parameters:
        if parameter.key == key:
            if isinstance(parameter, Categorical):
                return list(parameter.choices)
            # A set, as both ends may be equal.
            return sorted({parameter.low, parameter.high})
    return [definition.space.constants[key]]
