"""What can be known to be wrong before trial 0: networks, losses, augmentation."""

import time
from functools import partial
from pathlib import Path
from typing import Any

from harness.config import ModelConfig, TrialConfig
from harness.data.augment import find_steps
from harness.data.augment_check import Size, check_augment
from harness.errors import ConfigError
from harness.loss_config import loss_names
from harness.models.registry import (
    archs,
    check_model,
    idle_keys,
    option_names,
    option_problem,
)
from harness.paths import StudyPaths, Workspace
from harness.preflight.networks import Setting
from harness.preflight.reachable import LIMIT
from harness.preflight.verdicts import Table, Told, preflight
from harness.search.definition import Definition
from harness.search.progress import Progress
from harness.space.keys import OPTIONS
from harness.space.schema import Choice, Legal
from harness.training.checks import check_loss, check_objective
from harness.wording import count

PATIENCE_S = 2.0  # without a word


def legal_names() -> Legal:
    """The names that only the network libraries know."""
    options = {arch: option_names(arch) for arch in archs()}
    names = sorted({name for known in options.values() for name in known})
    return Legal(
        values={"model.arch": archs()},
        checks={
            "model.encoder_name": _encoder_problem,
            **{OPTIONS + name: partial(_option_problem, name) for name in names},
        },
        options=options,
        idle={arch: idle_keys(arch) for arch in archs()},
    )


def _option_problem(name: str, value: Any) -> str | None:
    """Why no architecture that has this option takes this value; None: one does."""
    having = [arch for arch in archs() if name in option_names(arch)]
    problems = [option_problem(arch, name, value) for arch in having]
    return None if None in problems else next(iter(problems), None)


def _encoder_problem(name: Any) -> str | None:
    """What is wrong with the name of an encoder; there are too many of timm's to list."""
    try:
        check_model(ModelConfig(encoder_name=name, encoder_weights=None))
    except ConfigError as error:
        return "; ".join(p.removeprefix("model.encoder_name: ") for p in error.problems)
    return None


def check_networks(definition: Definition, n_train: int | None, told: Told | None = None) -> Table:
    """Build every network that the study can draw, or a sample where there are very many.

    Args:
        n_train: training images; None: not known yet.
        told: called with (done, total).
    """
    # A grid is counted off to its end, so that what is impossible must be known beforehand.
    limit = None if definition.config.sampler.name == "grid" else LIMIT
    setting = Setting.of(definition.config.data, n_train)
    return preflight(definition.space, setting, limit=limit, told=told)


def late(progress: Progress) -> Told:
    """A bar for building networks, which appears once that has taken a while."""
    begun, shown = time.monotonic(), list[Told]()

    def told(done: int, total: int | None) -> None:
        if not shown and time.monotonic() - begun > PATIENCE_S:
            networks = "networks" if total is None else count(total, "network")
            shown.append(progress.bar(f"building {networks}, without memory"))
        for bar in shown:
            bar(done, total)

    return told


def wanted_weights(table: Table) -> list[ModelConfig]:
    """One model for each pretrained weights that a possible combination begins with."""
    return [
        ModelConfig.model_validate({"encoder_name": name, "encoder_weights": weights})
        for name, weights in table.pretrained
    ]


def check_losses(definition: Definition) -> None:
    """Check that the parts of the loss and the objective fit the task.

    What acts under some draws only, as class weights do, is asked about beside the largest values.
    """
    data, space = definition.config.data, definition.space
    check_objective(definition.config.objective, data)
    part = {key: value for key, value in space.constants.items() if key.startswith("loss.")}
    searched = [key for key in space.by_key if key.startswith("loss.")]
    weights = [key for key in searched if key.removeprefix("loss.") in loss_names()]
    largest = {key: max(values_of(definition, key)) for key in weights}
    others = [key for key in searched if key not in largest]
    for values in [{key: value} for key in others for value in values_of(definition, key)] or [{}]:
        check_loss(TrialConfig.from_flat(part | largest | values).loss, data)


def check_augments(definition: Definition, workspace: Workspace, paths: StudyPaths) -> list[Path]:
    """Try every augmentation the study can draw; the files that are to be kept with it.

    Raises:
        ConfigError: see `check_augment`; each is tried at the image sizes it can be drawn with.
    """
    data = definition.config.data
    found: list[Path] = []
    for name in values_of(definition, "data.augment"):
        folder = find_steps(name, [paths.augments, workspace.search_spaces, workspace.root])
        if folder is not None:
            found.append(folder / name)
        check_augment(name, folder=folder, data=data, sizes=_sizes_beside(definition, name))
    return found


def _sizes_beside(definition: Definition, name: str) -> list[Size]:
    """Every `data.image_size`, as height and width, that can be drawn beside an augmentation."""
    space, key, augment = definition.space, "data.image_size", "data.augment"
    if space.rows:
        beside = [row.get(key, space.constants.get(key)) for row in space.rows]
        named = [row.get(augment, space.constants.get(augment)) for row in space.rows]
        sizes = [size for size, one in zip(beside, named, strict=True) if one == name]
        return [pair for size in sizes if size is not None for pair in _as_pairs(size)]
    searched = {one: space.by_key[one] for one in (key, augment) if one in space.by_key}
    found: list[Size] = []
    for size in values_of(definition, key):
        values = {one: value for one, value in ((key, size), (augment, name)) if one in searched}
        apart = any(
            not match.holds(values[other])
            for parameter in searched.values()
            for other, match in parameter.when.items()
            if other in values
        )
        if not apart and space.rule_against(values) is None:
            found += _as_pairs(size)
    default = TrialConfig().data.height_width
    parted = key in searched and augment in searched[key].when
    return found or ([default] if parted else [])


def _as_pairs(size: Any) -> list[Size]:
    return [(size, size) if isinstance(size, int) else (size[0], size[-1])]


def values_of(definition: Definition, key: str) -> list[Any]:
    """Every value a key can take in this study."""
    listed = [row[key] for row in definition.space.rows if key in row]
    if listed:
        return [value for i, value in enumerate(listed) if value not in listed[:i]]
    for parameter in definition.space.parameters:
        if parameter.key == key:
            if isinstance(parameter, Choice):
                return list(parameter.choices)
            return sorted({parameter.low, parameter.high})
    return [definition.space.constants[key]]
