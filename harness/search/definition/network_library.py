"""Interface to the network libraries, which import torch: in this process, or in another one.

The controller of a cluster lives on a login node, where memory is scarce: there a child process
answers (`network_process`).
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.config.imports import ImportConfig
from harness.config.study import ModelConfig, TrialConfig
from harness.core.paths import StudyPaths, Workspace
from harness.search.definition.component_checks import PreflightCallback, possible_values
from harness.search.definition.definition import StudyDefinition
from harness.space.keys import OPTIONS_PREFIX
from harness.space.space import AllowedValues

if TYPE_CHECKING:  # the module imports SciPy
    from harness.data.splits.splits import SplitRow


@dataclass(frozen=True)
class LibraryNames:
    """Names that the network libraries and user-defined networks define.

    Attributes:
        options: names of the options of each architecture.
        inactive_keys: keys without effect under each architecture.
    """

    archs: list[str]
    options: dict[str, list[str]]
    inactive_keys: dict[str, list[str]]


@dataclass(frozen=True)
class NetworkSummary:
    """Result of the check of all networks of a space.

    Attributes:
        line: the number of networks, and of impossible ones, for the user.
        n_impossible: number of configurations that cannot be trained.
        max_parameters: of the largest network.
        pretrained_encoders: encoder and name of all pretrained weights that trials can use.
    """

    line: str
    n_impossible: int
    max_parameters: int
    pretrained_encoders: list[tuple[str, str]]


class NetworkNameChecks(Protocol):
    """Names that the network libraries define, and problems with names and values."""

    def names(self) -> LibraryNames:
        """Names of architectures and their options."""
        ...

    def encoder_problem(self, name: Any) -> str | None:
        """Problem with an encoder's name; timm has too many encoders to list them."""
        ...

    def option_problem(self, name: str, value: Any) -> str | None:
        """Problem with an option's value; None if at least one architecture accepts it."""
        ...


class NetworkLibrary(NetworkNameChecks, Protocol):
    """Network libraries; all methods raise UserError for what the user must change."""

    def check_augments(
        self, definition: StudyDefinition, workspace: Workspace, paths: StudyPaths
    ) -> list[Path]:
        """Run every augmentation of the study; the files to be copied into the study."""
        ...

    def check_networks(
        self,
        definition: StudyDefinition,
        n_train: int | None,
        on_progress: PreflightCallback | None = None,
    ) -> NetworkSummary:
        """Build every network; raises ConfigError if no trial could be trained."""
        ...

    def ensure_weights(self, encoders: Sequence[tuple[str, str]]) -> None:
        """Download the weights of these encoders that are not in the local cache."""
        ...

    def weight_files(self, model: ModelConfig) -> tuple[Path, list[str]] | None:
        """Folder of cached weights, and the paths in it that this model needs; None: no weights.

        Raises WeightsError if they are not in the cache.
        """
        ...

    def config_refusal(
        self, definition: StudyDefinition, n_train: int, values: Mapping[str, Any]
    ) -> str | None:
        """Reason why a drawn configuration cannot be trained, or None."""
        ...

    def plan_imports(
        self,
        names: Sequence[str],
        paths: StudyPaths,
        definition: StudyDefinition,
        split: Sequence["SplitRow"],
        augments: Sequence[Path],
    ) -> tuple[ImportConfig, ...]:
        """Select the trials of earlier studies that fit, see `search.imports.imports`."""
        ...

    def close(self) -> None:
        """Return the memory; a later question opens the libraries again."""
        ...


def allowed_values(networks: NetworkNameChecks) -> AllowedValues:
    """Allowed architectures, encoders and options, which only the network libraries define."""
    names = networks.names()
    options = sorted({name for arch_options in names.options.values() for name in arch_options})
    return AllowedValues(
        values={"model.arch": names.archs},
        checks={
            "model.encoder_name": networks.encoder_problem,
            **{OPTIONS_PREFIX + name: partial(networks.option_problem, name) for name in options},
        },
        options=names.options,
        inactive_keys=names.inactive_keys,
    )


def may_use_weights(definition: StudyDefinition, networks: NetworkLibrary) -> bool:
    """True if some trial of the study may begin with pretrained weights."""
    inactive = networks.names().inactive_keys
    weights = possible_values(definition, "model.encoder_weights")
    return any(name is not None for name in weights) and any(
        "model.encoder_weights" not in inactive[arch]
        for arch in possible_values(definition, "model.arch")
    )


def refusal_key(
    config: TrialConfig, has_single_image_batch: bool, inactive: Mapping[str, Collection[str]]
) -> str:
    """Text that is equal for configurations of which all or none can be trained.

    Args:
        inactive: keys without effect, by architecture.
    """
    idle = inactive[config.model.arch]
    model = {
        name: value
        for name, value in config.model.model_dump(mode="json").items()
        if f"model.{name}" not in idle
    }
    return json.dumps([model, config.data.height_width, has_single_image_batch], sort_keys=True)
