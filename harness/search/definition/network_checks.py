"""Checks of networks before the first trial, in a process that imports torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config.imports import ImportConfig
from harness.config.study import ModelConfig
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths, Workspace
from harness.data.splits.splits import SplitRow
from harness.models.registry import (
    archs,
    check_model,
    inactive_keys,
    option_names,
    option_problem,
    takes_encoder,
)
from harness.models.weights import cached_repository_files, ensure_weights
from harness.preflight.combinations import MAX_NETWORKS
from harness.preflight.network_key import PreflightSetting
from harness.preflight.network_table import (
    NetworkChecker,
    NetworkTable,
    PreflightCallback,
    build_network_table,
    check_network_table,
)
from harness.search.definition.augment_checks import check_augments
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.network_library import (
    LibraryNames,
    NetworkSummary,
    allowed_values,
    refusal_key,
)
from harness.search.imports.imports import plan_imports
from harness.space.space import AllowedValues


class LocalNetworks:
    """Network libraries in this process; a `NetworkLibrary`."""

    def __init__(self) -> None:
        self._checker: NetworkChecker | None = None
        self._table: NetworkTable | None = None

    def names(self) -> LibraryNames:
        return LibraryNames(
            archs=list(archs()),
            options={arch: list(option_names(arch)) for arch in archs()},
            inactive_keys={arch: sorted(inactive_keys(arch)) for arch in archs()},
        )

    def encoder_problem(self, name: Any) -> str | None:
        try:
            check_model(ModelConfig(encoder_name=name, encoder_weights=None))
        except ConfigError as error:
            return "; ".join(p.removeprefix("model.encoder_name: ") for p in error.problems)
        return None

    def option_problem(self, name: str, value: Any) -> str | None:
        supporting_archs = [arch for arch in archs() if name in option_names(arch)]
        problems = [option_problem(arch, name, value) for arch in supporting_archs]
        return None if None in problems else next(iter(problems), None)

    def check_augments(
        self, definition: StudyDefinition, workspace: Workspace, paths: StudyPaths
    ) -> list[Path]:
        return check_augments(definition, workspace, paths)

    def check_networks(
        self,
        definition: StudyDefinition,
        n_train: int | None,
        on_progress: PreflightCallback | None = None,
    ) -> NetworkSummary:
        table = check_networks(definition, n_train, on_progress)
        check_network_table(table)
        self._table, self._checker = table, table.checker
        possible = [entry.build_result.n_parameters or 0 for entry in table.possible]
        return NetworkSummary(
            line=table.summary_line(),
            n_impossible=len(table.impossible),
            max_parameters=max(possible, default=0),
            pretrained_encoders=list[tuple[str, str]](table.pretrained_encoders),
        )

    def ensure_weights(self, encoders: Sequence[tuple[str, str]]) -> None:
        ensure_weights([_pretrained_model(*encoder) for encoder in encoders])

    def weight_files(self, model: ModelConfig) -> tuple[Path, list[str]] | None:
        if model.encoder_weights is None or not takes_encoder(model.arch):
            return None
        return cached_repository_files(model.encoder_name, model.encoder_weights)

    def config_refusal(
        self, definition: StudyDefinition, n_train: int, values: Mapping[str, Any]
    ) -> str | None:
        if self._checker is None or self._checker.space != definition.space:
            setting = PreflightSetting.from_data(definition.config.data, n_train)
            self._checker = NetworkChecker(definition.space, setting)
        return self._checker.config_refusal(values)

    def refusals(self) -> dict[str, str | None]:
        """Reason against each configuration of the last table, or None, by `refusal_key`."""
        inactive = {arch: inactive_keys(arch) for arch in archs()}
        return {
            refusal_key(entry.sampled.config, entry.sampled.has_single_image_batch, inactive): (
                None if entry.reason is None else f"{entry.sampled.network.name}: {entry.reason}"
            )
            for entry in (() if self._table is None else self._table.entries)
        }

    def plan_imports(
        self,
        names: Sequence[str],
        paths: StudyPaths,
        definition: StudyDefinition,
        split: Sequence[SplitRow],
        augments: Sequence[Path],
    ) -> tuple[ImportConfig, ...]:
        return plan_imports(names, paths, definition, split, augments)

    def close(self) -> None:
        """Keep what was learned: it stays in this process."""


def legal_names() -> AllowedValues:
    """Allowed architectures, encoders and options, which only the network libraries define."""
    return allowed_values(LocalNetworks())


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


def pretrained_models(table: NetworkTable) -> list[ModelConfig]:
    """One model for each set of pretrained weights that a possible combination uses."""
    return [_pretrained_model(*encoder) for encoder in table.pretrained_encoders]


def _pretrained_model(name: str, weights: str) -> ModelConfig:
    return ModelConfig.model_validate({"encoder_name": name, "encoder_weights": weights})
