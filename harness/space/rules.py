"""Which settings have no effect beside others, and which others these are."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from harness.config import LOSS_PARTS
from harness.loss_config import loss_names, loss_setting, pixel_losses
from harness.space.keys import OPTIONS

Values = Callable[[str], list[Any]]
Rule = Callable[[Values], str | None]


def rule_of(key: str) -> Rule | None:
    """The rule of a setting, if it has one.

    A rule is given every value that another setting can have, by full key ([] for an option that
    nobody sets), and says why its own has no effect; None: it has one.
    """
    return _RULES.get(key) or _rule_of_other(key)


def too_long_a_warmup(values: Values) -> str | None:
    """Why no warm-up is shorter than its training; None: one is."""
    warmup, epochs = min(values("optim.warmup_epochs")), max(values("train.epochs"))
    if warmup < epochs:
        return None
    return (
        f"optim.warmup_epochs is never below {warmup} and train.epochs never above {epochs}; "
        "a warm-up is shorter than its training"
    )


def _needs_sgd(values: Values) -> str | None:
    return None if "sgd" in values("optim.name") else "optim.name is never sgd"


def _needs_weight(part: str) -> Rule:
    def rule(values: Values) -> str | None:
        return None if max(values(f"loss.{part}")) > 0 else f"loss.{part} is never above 0"

    return rule


def _of_pixels(what: str, setting: Literal["label_smoothing", "class_weights"]) -> Rule:
    def rule(values: Values) -> str | None:
        *keys, last = (f"loss.{part}" for part in pixel_losses(setting))
        if any(max(values(key)) > 0 for key in (*keys, last)):
            return None
        return f"{what} {', '.join(keys)} and {last}, which are never above 0"

    return rule


def _needs_company(part: str) -> Rule:
    """Weights are divided by their sum, so that a part alone always weighs 1."""

    def rule(values: Values) -> str | None:
        others = [other for other in loss_names() if other != part]
        if any(max(values(f"loss.{other}")) > 0 for other in others):
            return None
        return f"{', '.join(f'loss.{other}' for other in others)} are always 0, so it weighs 1"

    return rule


def _overridden(values: Values) -> str | None:
    if None in values("optim.encoder_lr") or None in values("optim.decoder_lr"):
        return None
    return "optim.encoder_lr and optim.decoder_lr are always set and override it"


def _scale(values: Values) -> str | None:
    if None in values("optim.encoder_lr"):
        return _frozen(values)
    return "optim.encoder_lr is always set and overrides it"


def _frozen(values: Values) -> str | None:
    freeze, epochs = min(values("train.freeze_encoder_epochs")), max(values("train.epochs"))
    if freeze < epochs:
        return None
    return f"the encoder is frozen in all epochs (train.freeze_encoder_epochs {freeze} or more)"


def _patience(values: Values) -> str | None:
    epochs = max(values("train.epochs"))
    waits = [value for value in values("train.patience") if value is not None]
    if not waits or min(waits) < epochs:
        return None
    return f"train.epochs is never above {epochs}, so no trial waits that long"


def _same_pixels(values: Values) -> str | None:
    among = set(values("data.normalize"))
    if among != {"imagenet", "encoder"} or set(values("model.encoder_weights")) != {None}:
        return None
    return "without model.encoder_weights, encoder is the same as imagenet"


def _needs_switch(arch: str, switch: str) -> Rule:
    """The option of an architecture whose part is off unless another option is true."""

    def rule(values: Values) -> str | None:
        if set(values("model.arch")) != {arch} or any(one is True for one in values(switch)):
            return None
        return f"{switch} is never true"

    return rule


def _same_training(_: Values) -> str | None:
    return "it changes nothing that is trained; put it under fixed:"


def _rule_of_other(key: str) -> Rule | None:
    """The rule of a loss that others have registered, or of its option."""
    setting = loss_setting(key.removeprefix("loss.")) if key.startswith("loss.") else None
    if setting is None:
        return None
    part, option = setting
    return _needs_company(part.name) if option is None else _needs_weight(part.name)


_RULES: Mapping[str, Rule] = {
    "optim.momentum": _needs_sgd,
    "optim.lr": _overridden,
    "optim.encoder_lr": _frozen,
    "optim.encoder_lr_scale": _scale,
    "data.normalize": _same_pixels,
    OPTIONS + "aspp_rates": _needs_switch("attention_unet", OPTIONS + "aspp"),
    OPTIONS + "cbam_reduction": _needs_switch("attention_unet", OPTIONS + "cbam"),
    "loss.focal_gamma": _needs_weight("focal"),
    "loss.label_smoothing": _of_pixels("it moves the targets of", "label_smoothing"),
    "loss.class_weights": _of_pixels("they weigh the classes in", "class_weights"),
    "loss.tversky_alpha": _needs_weight("tversky"),
    "train.patience": _patience,
    "train.checkpoint_s": _same_training,
    **{f"loss.{part}": _needs_company(part) for part in LOSS_PARTS},
}
