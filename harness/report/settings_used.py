"""The settings that trained, trial by trial, and which of them acted."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness import parts
from harness.config import LossConfig, OptimConfig
from harness.loss_config import loss_names, loss_setting, pixel_losses
from harness.records import TrialRecord
from harness.report.tables import StudyTables, trial_settings

Flat = dict[str, Any]
# of segmentation-models-pytorch, and ours that take an encoder of one's choice
WITH_ENCODER: Final = (
    *("Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "PAN", "DeepLabV3"),
    *("DeepLabV3Plus", "UPerNet", "Segformer", "DPT", "fcn"),
)
OWN_ENCODER: Final = ("attention_unet",)  # an encoder that has rates and depth, but no name
_OPTIONS: Final = "model.options."


@dataclass(frozen=True)
class Used:
    """A trial that trained at least one epoch, with every setting by its full key.

    Attributes:
        settings: lists as lists; of a parameter that was not in force what the configuration had.
        n_epochs: how many it trained.
    """

    record: TrialRecord
    settings: Flat
    n_epochs: int

    def __getitem__(self, key: str) -> Any:
        return self.settings.get(key)

    @property
    def has_encoder(self) -> bool:
        """Whether part of the network is an encoder, with a rate of its own, that may be frozen."""
        return self["model.arch"] in OWN_ENCODER or self.takes_encoder

    @property
    def takes_encoder(self) -> bool:
        """Whether model.encoder_name chose part of the network."""
        arch = str(self["model.arch"])
        if arch in (*WITH_ENCODER, *OWN_ENCODER):
            return arch in WITH_ENCODER
        part = parts.registered("network").get(arch)
        # of a network that is not registered here: a key without effect is refused when searched
        return (
            "model.encoder_name" in self.record.params
            if part is None
            else part.takes("encoder_name")
        )

    @property
    def encoder_learned(self) -> bool:
        """Whether any epoch trained the encoder."""
        return self.has_encoder and (self["train.freeze_encoder_epochs"] or 0) < self.n_epochs

    @property
    def rates(self) -> tuple[float | None, float]:
        """Peak learning rates of the encoder (None: no weight of one learned) and of the rest."""
        given = {
            name: self[f"optim.{name}"]
            for name in ("lr", "encoder_lr", "encoder_lr_scale", "decoder_lr")
        }
        encoder, rest = OptimConfig.model_construct(**given).rates
        return (encoder if self.encoder_learned else None), rest

    @property
    def losses(self) -> dict[str, float]:
        """The weight of each part of the loss that has one above 0."""
        named = [key.removeprefix("loss.") for key in self.settings if key.startswith("loss.")]
        own = _foreign(named)
        found = {name: self[f"loss.{name}"] for name in (*loss_names(), *own)}
        return {name: float(weight) for name, weight in found.items() if weight}

    @property
    def loss_options(self) -> dict[str, list[str]]:
        """The options of the user's own losses that have a weight, by loss."""
        named = [key.removeprefix("loss.") for key in self.settings if key.startswith("loss.")]
        return {name: options for name, options in _foreign(named).items() if name in self.losses}

    @property
    def smooths_pixels(self) -> bool:
        """Whether label smoothing and class weights have a loss to act in."""
        return any(name in self.losses for name in pixel_losses("label_smoothing"))

    @property
    def weighs_classes(self) -> bool:
        """Whether class weights have a loss to act in."""
        return any(name in self.losses for name in pixel_losses("class_weights"))

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of the architecture that were set."""
        return {
            key.removeprefix(_OPTIONS): value
            for key, value in self.settings.items()
            if key.startswith(_OPTIONS)
        }


def _foreign(named: Sequence[str]) -> dict[str, list[str]]:
    """Losses of the user's own among settings of `loss.`, each with its options.

    Where the file that registers them is not loaded, as in a report, `<name>_<option>` is an option
    if `<name>` is a setting as well.
    """
    ours = set(LossConfig.model_fields)
    foreign = [name for name in named if name not in ours]
    found: dict[str, list[str]] = {}
    for name in sorted(foreign, key=len):
        known = loss_setting(name)
        if known is not None:
            owner = name if known[1] is None else known[0].name
        else:
            owner = max((one for one in found if name.startswith(f"{one}_")), key=len, default=name)
        found.setdefault(owner, [])
        if owner != name:
            found[owner].append(name)
    return found


def used_settings(tables: StudyTables) -> list[Used]:
    """The trials that trained an epoch, in order; [] where there is none.

    Trials in which the same parameters are in force share everything that is not searched, so one
    config.yaml of each such group is read.
    """
    epochs = Counter(int(number) for number in tables.epochs["number"])
    bases: dict[tuple[str, ...], Flat] = {}
    found = []
    for record in tables.records:
        if not epochs[record.number]:
            continue
        group = tuple(sorted(record.params))
        if not bases.get(group):
            bases[group] = trial_settings(tables, record)
        searched = {key: _plain(value) for key, value in record.params.items()}
        found.append(Used(record, bases[group] | searched, epochs[record.number]))
    return found


def _plain(value: Any) -> Any:
    """A parameter's value; of a choice that is a list, Optuna has its JSON text."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def different(
    used: Sequence[Used], key: str, where: Callable[[Used], bool] = lambda _: True
) -> list[Any]:
    """The different values of a setting in the trials in which it acted, in order of trial."""
    given = [one[key] for one in used if where(one)]
    return list({json.dumps(value): value for value in given}.values())
