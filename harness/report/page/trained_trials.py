"""Settings of each trained trial, and the conditions under which each setting had an effect."""

import ast
import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from harness.config import components
from harness.config.catalogue import NETWORKS
from harness.config.component_interface import HARNESS_ARGUMENTS
from harness.config.loss import find_loss_setting, loss_names, pixel_losses
from harness.config.study import LossConfig, OptimConfig
from harness.config.user_code import read_parts_file
from harness.core.errors import ConfigError
from harness.core.records import TrialRecord
from harness.report.tables.study_tables import StudyTables, trial_settings

FlatSettings = dict[str, Any]
_OPTIONS: Final = "model.options."


@dataclass(frozen=True)
class TrainedTrial:
    """Trial that trained at least one epoch, with every setting by its full key.

    Attributes:
        settings: values by key. An inactive parameter has the value of the configuration.
        n_epochs: number of trained epochs.
        declared_losses: losses that the study's file of user code registers, with their settings
            below `loss.` that are options; empty if there is no such file.
    """

    record: TrialRecord
    settings: FlatSettings
    n_epochs: int
    declared_losses: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.settings.get(key)

    @property
    def has_encoder(self) -> bool:
        """True if the network has an encoder, which can be frozen or have its own rate."""
        return self["model.arch"] in NETWORKS or self.has_selectable_encoder

    @property
    def has_selectable_encoder(self) -> bool:
        """True if model.encoder_name selects the encoder of this network."""
        arch = str(self["model.arch"])
        if arch in NETWORKS:  # not asked of the registry: a report does not import `models`
            return NETWORKS[arch].has_named_encoder
        part = components.get_components("network").get(arch)
        # A network that is not registered in this process: a searched key that had no effect would
        # have been refused before the study, so a searched encoder was used.
        return (
            "model.encoder_name" in self.record.params
            if part is None
            else part.accepts("encoder_name")
        )

    @property
    def is_encoder_trained(self) -> bool:
        """True if the encoder was trained in at least one epoch."""
        return self.has_encoder and (self["train.freeze_encoder_epochs"] or 0) < self.n_epochs

    @property
    def rates(self) -> tuple[float | None, float]:
        """Peak learning rates of encoder and rest; None for an encoder that was never trained."""
        rate_settings = {
            name: self[f"optim.{name}"]
            for name in ("lr", "encoder_lr", "encoder_lr_scale", "decoder_lr")
        }
        encoder, rest = OptimConfig.model_construct(**rate_settings).peak_rates
        return (encoder if self.is_encoder_trained else None), rest

    @property
    def has_full_configuration(self) -> bool:
        """True if the trial's config.yaml was read; otherwise only searched values are known."""
        return "train.epochs" in self.settings

    @property
    def losses(self) -> dict[str, float]:
        """Weight of each term of the loss with a weight above 0."""
        weights = {name: self[f"loss.{name}"] for name in (*loss_names(), *self._user_losses())}
        return {name: float(weight) for name, weight in weights.items() if weight}

    @property
    def loss_options(self) -> dict[str, list[str]]:
        """Options, as settings below `loss.`, of each user-defined loss that has a weight."""
        return {
            name: options for name, options in self._user_losses().items() if name in self.losses
        }

    def _user_losses(self) -> dict[str, list[str]]:
        names = [key.removeprefix("loss.") for key in self.settings if key.startswith("loss.")]
        return group_user_losses(names, self.declared_losses)

    @property
    def is_smoothing_active(self) -> bool:
        """True if a loss with a weight uses label smoothing."""
        return any(name in self.losses for name in pixel_losses("label_smoothing"))

    @property
    def are_class_weights_active(self) -> bool:
        """True if a loss with a weight uses class weights."""
        return any(name in self.losses for name in pixel_losses("class_weights"))

    @property
    def network_options(self) -> dict[str, Any]:
        """Arguments of the architecture that the configuration sets."""
        return {
            key.removeprefix(_OPTIONS): value
            for key, value in self.settings.items()
            if key.startswith(_OPTIONS)
        }


def group_user_losses(
    names: Sequence[str], declared: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """User-defined losses among the settings below `loss.`, each with its options among them.

    Args:
        names: settings without `loss.`.
        declared: losses of the study's file with their options, see `read_declared_losses`.
    """
    options_by_loss: dict[str, list[str]] = {}
    # Shorter names first, so that a loss is known before its options `<loss>_<option>`.
    for name in sorted(set(names) - set(LossConfig.model_fields), key=lambda n: (len(n), n)):
        owner = _owning_loss(name, declared, options_by_loss)
        options_by_loss.setdefault(owner, [])
        if owner != name:
            options_by_loss[owner].append(name)
    return options_by_loss


def _owning_loss(name: str, declared: Mapping[str, Sequence[str]], losses: Iterable[str]) -> str:
    """Loss that a setting is an option of; the setting itself if it is the weight of a loss.

    Three sources decide, in this order: the registry (losses of installed packages), the study's
    own file, and the naming rule `<loss>_<option>`. The rule alone cannot tell a loss `edge_soft`
    from an option `soft` of a loss `edge`.
    """
    registered = find_loss_setting(name)
    if registered is not None:
        return registered[0].name
    owners = {option: loss for loss, options in declared.items() for option in options}
    if name in declared or name in owners:
        return owners.get(name, name)
    prefixes = [loss for loss in losses if name.startswith(f"{loss}_")]
    return max(prefixes, key=len, default=name)


def read_declared_losses(tables: StudyTables) -> dict[str, tuple[str, ...]]:
    """Losses that the study's file of user code registers, each with its options.

    The file is parsed and never executed: a report can be of a study from somebody else.

    Returns:
        Options as settings below `loss.`, e.g. `{"hardest": ("hardest_share",)}`; {} if the study
        has no such file, or not the one it started with.
    """
    losses = {}
    for function in _parse_user_code(tables):
        if isinstance(function, ast.FunctionDef):
            arguments = [a.arg for a in (*function.args.args, *function.args.kwonlyargs)]
            options = [a for a in arguments if a not in HARNESS_ARGUMENTS["loss"]]
            for decorator in function.decorator_list:
                if (name := _registered_loss_name(decorator, function.name)) is not None:
                    losses[name] = tuple(f"{name}_{option}" for option in options)
    return losses


def _parse_user_code(tables: StudyTables) -> list[ast.stmt]:
    """Statements of the file; [] if it is missing, invalid, or not the one of the study's start."""
    parts = tables.config.parts
    if parts is None:
        return []
    try:
        file = read_parts_file(tables.paths.parts(parts.file))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the user's code, e.g. an invalid escape
            statements = ast.parse(file.data).body
    # Deeply nested code makes the parser itself run out of stack or memory.
    except (ConfigError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return statements if parts.sha256 in (None, file.sha256) else []


def _registered_loss_name(decorator: ast.expr, function_name: str) -> str | None:
    """Name under which `@parts.loss(...)` registers a function; None for another decorator."""
    if not isinstance(decorator, ast.Call):
        return None
    if ast.unparse(decorator.func).rpartition(".")[2] != "loss":
        return None
    given = [*decorator.args[:1], *(k.value for k in decorator.keywords if k.arg == "name")]
    name = given[0].value if given and isinstance(given[0], ast.Constant) else None
    return name if isinstance(name, str) else function_name


def load_trained_trials(tables: StudyTables) -> list[TrainedTrial]:
    """Trials that trained at least one epoch, in order of number.

    One config.yaml is read per set of active parameters, not per trial: trials with the same active
    parameters share every setting that is not searched. A study of 2,000 trials would otherwise
    parse as many YAML files.
    """
    epoch_counts = Counter(int(number) for number in tables.epochs["number"])
    bases: dict[tuple[str, ...], FlatSettings] = {}
    declared = read_declared_losses(tables)
    trained_trials = []
    for record in tables.records:
        if not epoch_counts[record.number]:
            continue
        group = tuple(sorted(record.params))
        if not bases.get(group):
            bases[group] = trial_settings(tables, record)
        searched = {key: _decode_choice(value) for key, value in record.params.items()}
        trained_trials.append(
            TrainedTrial(record, bases[group] | searched, epoch_counts[record.number], declared)
        )
    return trained_trials


def _decode_choice(value: Any) -> Any:
    """A parameter's value. A choice that is a list is stored by Optuna as its JSON text."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def distinct_values(
    trials: Sequence[TrainedTrial],
    key: str,
    condition: Callable[[TrainedTrial], bool] = lambda _: True,
) -> list[Any]:
    """Distinct values of a setting in the trials that fulfil a condition, in order of trial."""
    values = [trial[key] for trial in trials if condition(trial)]
    return list({json.dumps(value): value for value in values}.values())
