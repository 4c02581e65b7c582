"""Rules that find settings without effect, given the values that other settings can have."""

from collections.abc import Callable, Mapping
from typing import Any

from harness.config.catalogue import PixelSetting
from harness.config.loss import find_loss_setting, loss_names, pixel_losses
from harness.space.keys import OPTIONS_PREFIX

# Of a range, a lookup returns only the ends and the values that conditions name: a rule may compare
# minimum and maximum, but must not count the values or look for one in the middle.
ValueLookup = Callable[[str], list[Any]]
InactivityRule = Callable[[ValueLookup], str | None]


def inactivity_rule(key: str) -> InactivityRule | None:
    """The rule of a setting; None if the setting always has an effect.

    A rule receives a lookup of the values that another setting can have, by full key ([] for an
    option that is not set). It returns the reason why its own setting has no effect, or None.
    """
    return _RULES.get(key) or _loss_rule(key)


def warmup_problem(values: ValueLookup) -> str | None:
    """Reason why no warm-up can be shorter than its training; None if one can be."""
    warmup, epochs = min(values("optim.warmup_epochs")), max(values("train.epochs"))
    if warmup < epochs:
        return None
    return (
        f"optim.warmup_epochs is never below {warmup} and train.epochs never above {epochs}; "
        "a warm-up must be shorter than its training"
    )


def _needs_sgd(values: ValueLookup) -> str | None:
    return None if "sgd" in values("optim.name") else "optim.name is never sgd"


def _needs_weight(part: str) -> InactivityRule:
    def rule(values: ValueLookup) -> str | None:
        return None if max(values(f"loss.{part}")) > 0 else f"loss.{part} is never above 0"

    return rule


def _needs_pixel_loss(effect: str, setting: PixelSetting) -> InactivityRule:
    def rule(values: ValueLookup) -> str | None:
        *keys, last = (f"loss.{part}" for part in pixel_losses(setting))
        if any(max(values(key)) > 0 for key in (*keys, last)):
            return None
        return f"{effect} {', '.join(keys)} and {last}, whose weights are never above 0"

    return rule


def _needs_other_loss(part: str) -> InactivityRule:
    """Rule of a loss's weight, which needs a second loss.

    Weights are divided by their sum, so the share of a single loss is always 1.
    """

    def rule(values: ValueLookup) -> str | None:
        others = [name for name in loss_names() if name != part]
        if any(max(values(f"loss.{name}")) > 0 for name in others):
            return None
        return (
            f"{', '.join(f'loss.{name}' for name in others)} are always 0, so its share is always 1"
        )

    return rule


def _lr_rule(values: ValueLookup) -> str | None:
    if None in values("optim.encoder_lr") or None in values("optim.decoder_lr"):
        return None
    return "optim.encoder_lr and optim.decoder_lr are always set and override it"


def _encoder_lr_scale_rule(values: ValueLookup) -> str | None:
    if None in values("optim.encoder_lr"):
        return _needs_unfrozen_encoder(values)
    return "optim.encoder_lr is always set and overrides it"


def _needs_unfrozen_encoder(values: ValueLookup) -> str | None:
    freeze, epochs = min(values("train.freeze_encoder_epochs")), max(values("train.epochs"))
    if freeze < epochs:
        return None
    return f"the encoder is frozen in all epochs (train.freeze_encoder_epochs {freeze} or more)"


def _patience_rule(values: ValueLookup) -> str | None:
    epochs = max(values("train.epochs"))
    # Patience counts epochs without improvement, of which training has fewer than train.epochs.
    patiences = [value for value in values("train.patience") if value is not None]
    if not patiences or min(patiences) < epochs:
        return None
    return f"train.epochs is never above {epochs}, so patience never runs out"


def _normalize_rule(values: ValueLookup) -> str | None:
    modes = set(values("data.normalize"))
    if modes != {"imagenet", "encoder"} or set(values("model.encoder_weights")) != {None}:
        return None
    return "without model.encoder_weights, encoder is the same as imagenet"


def _needs_switch(arch: str, switch: str) -> InactivityRule:
    """Rule of an option that acts on a module built only if the option `switch` is true."""

    def rule(values: ValueLookup) -> str | None:
        # Another architecture may use an option of the same name without the switch.
        if set(values("model.arch")) != {arch} or any(value is True for value in values(switch)):
            return None
        return f"{switch} is never true"

    return rule


def _needs_tiles(values: ValueLookup) -> str | None:
    if any(size is not None for size in values("data.tile.size")):
        return None
    return "data.tile.size is always null, so images are used as a whole"


def _needs_whole_images(values: ValueLookup) -> str | None:
    if None in values("data.tile.size"):
        return None
    return "data.tile.size is always set, so every image is used in tiles"


def _no_effect_on_training(_: ValueLookup) -> str | None:
    return "it does not change the training; put it under fixed:"


def _loss_rule(key: str) -> InactivityRule | None:
    """The rule of a loss's weight or option, also for losses registered by user code."""
    setting = find_loss_setting(key.removeprefix("loss.")) if key.startswith("loss.") else None
    if setting is None:
        return None
    loss, option = setting
    return _needs_other_loss(loss.name) if option is None else _needs_weight(loss.name)


_RULES: Mapping[str, InactivityRule] = {
    "optim.momentum": _needs_sgd,
    "optim.lr": _lr_rule,
    "optim.encoder_lr": _needs_unfrozen_encoder,
    "optim.encoder_lr_scale": _encoder_lr_scale_rule,
    "data.normalize": _normalize_rule,
    "data.image_size": _needs_whole_images,
    "data.fit": _needs_whole_images,
    "data.tile.scale": _needs_tiles,
    "data.tile.overlap": _needs_tiles,
    "data.tile.foreground": _needs_tiles,
    OPTIONS_PREFIX + "aspp_rates": _needs_switch("attention_unet", OPTIONS_PREFIX + "aspp"),
    OPTIONS_PREFIX + "cbam_reduction": _needs_switch("attention_unet", OPTIONS_PREFIX + "cbam"),
    "loss.label_smoothing": _needs_pixel_loss("it changes the targets of", "label_smoothing"),
    "loss.class_weights": _needs_pixel_loss("they weight the classes in", "class_weights"),
    "train.patience": _patience_rule,
    "train.checkpoint_s": _no_effect_on_training,
}
