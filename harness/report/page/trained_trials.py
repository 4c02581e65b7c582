"""The settings that trained, trial by trial, and which of them acted."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness.config import components
from harness.config.loss import find_loss_setting, loss_names, pixel_losses
from harness.config.study import LossConfig, OptimConfig
from harness.core.records import TrialRecord
from harness.report.tables.study_tables import StudyTables, trial_settings

FlatSettings = dict[str, Any]
# of segmentation-models-pytorch, and ours that take an encoder of one's choice
SELECTABLE_ENCODER_ARCHS: Final = (
    *("Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "PAN", "DeepLabV3"),
    *("DeepLabV3Plus", "UPerNet", "Segformer", "DPT", "fcn"),
)
BUILTIN_ENCODER_ARCHS: Final = (
    "attention_unet",
)  # an encoder that has rates and depth, but no name
_OPTIONS: Final = "model.options."


@dataclass(frozen=True)
class TrainedTrial:
    """A trial that trained at least one epoch, with every setting by its full key.

    Attributes:
        settings: lists as lists; of a parameter that was not in force what the configuration had.
        n_epochs: how many it trained.
    """

    record: TrialRecord
    settings: FlatSettings
    n_epochs: int

    def __getitem__(self, key: str) -> Any:
        return self.settings.get(key)

    @property
    def has_encoder(self) -> bool:
        """Whether part of the network is an encoder, with a rate of its own, that may be frozen."""
        return self["model.arch"] in BUILTIN_ENCODER_ARCHS or self.has_selectable_encoder

    @property
    def has_selectable_encoder(self) -> bool:
        """Whether model.encoder_name chose part of the network."""
        arch = str(self["model.arch"])
        if arch in (*SELECTABLE_ENCODER_ARCHS, *BUILTIN_ENCODER_ARCHS):
            return arch in SELECTABLE_ENCODER_ARCHS
        part = components.get_components("network").get(arch)
        # of a network that is not registered here: a key without effect is refused when searched
        return (
            "model.encoder_name" in self.record.params
            if part is None
            else part.accepts("encoder_name")
        )

    @property
    def is_encoder_trained(self) -> bool:
        """Whether any epoch trained the encoder."""
        return self.has_encoder and (self["train.freeze_encoder_epochs"] or 0) < self.n_epochs

    @property
    def rates(self) -> tuple[float | None, float]:
        """Peak learning rates of the encoder (None: no weight of one learned) and of the rest."""
        rate_settings = {
            name: self[f"optim.{name}"]
            for name in ("lr", "encoder_lr", "encoder_lr_scale", "decoder_lr")
        }
        encoder, rest = OptimConfig.model_construct(**rate_settings).peak_rates
        return (encoder if self.is_encoder_trained else None), rest

    @property
    def losses(self) -> dict[str, float]:
        """The weight of each part of the loss that has one above 0."""
        names = [key.removeprefix("loss.") for key in self.settings if key.startswith("loss.")]
        custom_losses = _custom_losses(names)
        weights = {name: self[f"loss.{name}"] for name in (*loss_names(), *custom_losses)}
        return {name: float(weight) for name, weight in weights.items() if weight}

    @property
    def loss_options(self) -> dict[str, list[str]]:
        """The options of the user's own losses that have a weight, by loss."""
        names = [key.removeprefix("loss.") for key in self.settings if key.startswith("loss.")]
        return {
            name: options for name, options in _custom_losses(names).items() if name in self.losses
        }

    @property
    def is_smoothing_active(self) -> bool:
        """Whether label smoothing and class weights have a loss to act in."""
        return any(name in self.losses for name in pixel_losses("label_smoothing"))

    @property
    def are_class_weights_active(self) -> bool:
        """Whether class weights have a loss to act in."""
        return any(name in self.losses for name in pixel_losses("class_weights"))

    @property
    def network_options(self) -> dict[str, Any]:
        """The arguments of the architecture that were set."""
        return {
            key.removeprefix(_OPTIONS): value
            for key, value in self.settings.items()
            if key.startswith(_OPTIONS)
        }


def _custom_losses(names: Sequence[str]) -> dict[str, list[str]]:
    """Losses of the user's own among settings of `loss.`, each with its options.

    Where the file that registers them is not loaded, as in a report, `<name>_<option>` is an option
    if `<name>` is a setting as well.
    """
    builtin_fields = set(LossConfig.model_fields)
    custom_names = [name for name in names if name not in builtin_fields]
    options_by_loss: dict[str, list[str]] = {}
    for name in sorted(custom_names, key=len):
        setting = find_loss_setting(name)
        if setting is not None:
            owner = name if setting[1] is None else setting[0].name
        else:
            owner = max(
                (loss_name for loss_name in options_by_loss if name.startswith(f"{loss_name}_")),
                key=len,
                default=name,
            )
        options_by_loss.setdefault(owner, [])
        if owner != name:
            options_by_loss[owner].append(name)
    return options_by_loss


def load_trained_trials(tables: StudyTables) -> list[TrainedTrial]:
    """The trials that trained an epoch, in order; [] where there is none.

    Trials in which the same parameters are in force share everything that is not searched, so one
    config.yaml of each such group is read.
    """
    epoch_counts = Counter(int(number) for number in tables.epochs["number"])
    bases: dict[tuple[str, ...], FlatSettings] = {}
    trained_trials = []
    for record in tables.records:
        if not epoch_counts[record.number]:
            continue
        group = tuple(sorted(record.params))
        if not bases.get(group):
            bases[group] = trial_settings(tables, record)
        searched = {key: _decode_choice(value) for key, value in record.params.items()}
        trained_trials.append(
            TrainedTrial(record, bases[group] | searched, epoch_counts[record.number])
        )
    return trained_trials


def _decode_choice(value: Any) -> Any:
    """A parameter's value; of a choice that is a list, Optuna has its JSON text."""
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
    """The different values of a setting in the trials in which it acted, in order of trial."""
    values = [trial[key] for trial in trials if condition(trial)]
    return list({json.dumps(value): value for value in values}.values())
