"""What can be known to be wrong before trial 0: names, losses, augmentation."""

from itertools import product
from pathlib import Path
from typing import Any

from harness.config import LOSS_PARTS, ModelConfig, TrialConfig
from harness.data.augment import build_augment, find_steps
from harness.errors import ConfigError
from harness.models.registry import (
    archs,
    check_model,
    idle_keys,
    option_names,
    takes_encoder,
)
from harness.paths import StudyPaths, Workspace
from harness.search.definition import Definition
from harness.space.keys import OPTIONS
from harness.space.schema import Choice, Legal
from harness.training.checks import check_loss, check_objective


def legal_names() -> Legal:
    """The names that only the network libraries know."""
    return Legal(
        values={"model.arch": archs()},
        checks={"model.encoder_name": _encoder_problem},
        options={arch: option_names(arch) for arch in archs()},
        idle={arch: idle_keys(arch) for arch in archs()},
    )


def _encoder_problem(name: Any) -> str | None:
    """What is wrong with the name of an encoder; there are too many of timm's to list."""
    try:
        check_model(ModelConfig(encoder_name=name, encoder_weights=None))
    except ConfigError as error:
        return "; ".join(p.removeprefix("model.encoder_name: ") for p in error.problems)
    return None


def check_networks(definition: Definition) -> list[ModelConfig]:
    """Check every name of an architecture, encoder and its weights that the study can draw.

    Returns:
        One model for each pair of encoder and weights, where an architecture takes them.
    """
    constants = definition.space.constants
    names = values_of(definition, "model.arch")
    encoders = values_of(definition, "model.encoder_name")
    weights = values_of(definition, "model.encoder_weights")
    models = [
        ModelConfig(encoder_name=encoder, encoder_weights=weight)
        for encoder, weight in product(encoders, weights)
        if any(takes_encoder(name) for name in names)
    ]
    given = {k.removeprefix(OPTIONS): v for k, v in constants.items() if k.startswith(OPTIONS)}
    alone = [ModelConfig(arch=a, encoder_name=e) for a in names for e in encoders]
    first = alone[0].model_copy(update={"options": given, "encoder_weights": None})
    problems: list[str] = []
    for model in [*models, *([first] if len(alone) == 1 else [])]:
        try:
            check_model(model)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(sorted(set(problems)))
    return models


def check_losses(definition: Definition) -> None:
    """Check that the parts of the loss and the objective fit the task."""
    data, space = definition.config.data, definition.space
    check_objective(definition.config.objective, data)
    searched = [key for key in (p.key for p in space.parameters) if key.startswith("loss.")]
    drawn = [{key: value} for key in searched for value in values_of(definition, key)]
    for values in drawn or [{}]:
        part = {key: value for key, value in space.constants.items() if key.startswith("loss.")}
        weights = part | values
        if not any(weights.get(f"loss.{name}", 0) for name in LOSS_PARTS):
            continue  # this end alone is nothing; it comes with others
        check_loss(TrialConfig.from_flat(weights).loss, data)


def check_augments(definition: Definition, workspace: Workspace, paths: StudyPaths) -> list[Path]:
    """Build every augmentation the study can draw; the files that are to be kept with it."""
    data = definition.config.data
    found: list[Path] = []
    for name in values_of(definition, "data.augment"):
        folder = find_steps(name, [paths.augments, workspace.search_spaces, workspace.root])
        if folder is not None:
            found.append(folder / name)
        build_augment(name, folder=folder, channels=data.channels)
    return found


def values_of(definition: Definition, key: str) -> list[Any]:
    """Every value a key can take in this study."""
    for parameter in definition.space.parameters:
        if parameter.key == key:
            if isinstance(parameter, Choice):
                return list(parameter.choices)
            return sorted({parameter.low, parameter.high})
    return [definition.space.constants[key]]
