"""The sentences of the methods paragraph on networks, inputs, training and loss."""

from collections.abc import Callable, Sequence
from typing import Any

from harness.config import LOSS_PARTS
from harness.report import references
from harness.report.citations import Cited
from harness.report.settings_used import Used, different
from harness.report.wording import among, count, plural, span

_FITS = {"stretch": "stretched", "pad": "scaled and padded"}
_OPTIMISERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}
_LOSSES = {"bce": "binary cross-entropy", "ce": "cross-entropy"}


def networks(used: Sequence[Used], cite: Cited) -> str:
    """Architectures with their options, encoders, depth and first weights."""
    archs = cite.each(_texts(used, "model.arch"), dict(references.ARCHITECTURES))
    encoders = _texts(used, "model.encoder_name", _takes_encoder)
    named = among([cite(name, references.of_encoder(name)) for name in encoders])
    word = "encoders" if len(encoders) > 1 else "encoder"
    with_encoder = f" with the {word} {named}" if encoders else ""
    depth = span(different(used, "model.encoder_depth", lambda one: one.has_encoder))
    stages = f", {depth} stages deep" if depth else ""
    origins = [_origin(w, cite) for w in different(used, "model.encoder_weights", _takes_encoder)]
    start = f", beginning with {among(origins)}" if origins and _known(used) else ""
    return f"Trained were {archs}{with_encoder}{stages}{start}.{_options(used)}"


def _options(used: Sequence[Used]) -> str:
    keys = dict.fromkeys(name for one in used for name in one.options)
    each = [
        f"{key} {_listed([one.options[key] for one in used if key in one.options])}" for key in keys
    ]
    return f" Options of networks: {', '.join(each)}." if each else ""


def _listed(values: Sequence[Any]) -> str:
    """As `span`, and null where it is among the values."""
    return among([text for text in (span(values), "null" if None in values else "") if text])


def _origin(weights: str | None, cite: Cited) -> str:
    if weights is None:
        return "random weights"
    return (
        cite("ImageNet weights", references.IMAGENET)
        if weights == "imagenet"
        else (f"{weights} weights")
    )


def inputs(used: Sequence[Used], cite: Cited) -> str:
    """Size, fit, normalisation and augmentation of the images."""
    if not _known(used):
        return ""
    sizes = different(used, "data.image_size")
    shown = among([f"{s} × {s}" if isinstance(s, int) else " × ".join(map(str, s)) for s in sizes])
    fits = among([_FITS.get(fit, fit) for fit in _texts(used, "data.fit")])
    augments = _texts(used, "data.augment")
    normal = among(_texts(used, "data.normalize"))
    text = f"Images were {fits} to {shown} pixels, normalised ({normal})"
    if augments == ["none"]:
        return f"{text}, and not augmented."
    by = cite("albumentations", references.LIBRARIES["albumentations"])
    return f"{text} and augmented with {by} ({among(augments)})."


def training(used: Sequence[Used], cite: Cited) -> str:
    """Optimiser, epochs, batch, rates, schedule, decay and precision; then what else acted."""
    if not _known(used):
        return ""
    names = [
        cite(_OPTIMISERS.get(n, n), references.OPTIMISERS.get(n))
        for n in _texts(used, "optim.name")
    ]
    schedules = cite.each(_texts(used, "optim.schedule"), dict(references.SCHEDULES))
    precision = among(dict.fromkeys(o.record.precision for o in used if o.record.precision))
    decay = different(used, "optim.weight_decay")
    decayed = f"weight decay {span(decay)}" if any(decay) else "no weight decay"
    sentence = (
        f"{among(names)} trained for {span([one.record.epochs for one in used])} epochs at batch "
        f"size {span(different(used, 'train.batch_size'))}, {_rates(used)} ({schedules}), "
        f"{decayed}" + (f", in {precision}." if precision else ".")
    )
    return " ".join([sentence, *_further(used)])


def _rates(used: Sequence[Used]) -> str:
    """The rates that weights had: of encoder and rest apart where they differed in any trial."""
    rest = [one.rates[1] for one in used]
    encoder = [one.rates[0] for one in used if one.rates[0] is not None]
    if all(one.rates[0] in (None, one.rates[1]) for one in used):
        return f"learning rate {span(rest)}"
    return f"learning rate {span(encoder)} of the encoder and {span(rest)} of the rest"


def _further(used: Sequence[Used]) -> list[str]:
    """A sentence for each setting that acts only where it is set."""
    numbers: tuple[tuple[str, Callable[[Used], bool], str], ...] = (
        ("optim.momentum", lambda o: o["optim.name"] == "sgd", "The momentum of SGD was {}"),
        (
            "optim.warmup_epochs",
            lambda o: bool(o["optim.warmup_epochs"]),
            "The learning rate rose linearly in a warm-up of {}",
        ),
        (
            "optim.grad_clip",
            lambda o: o["optim.grad_clip"] is not None,
            "Gradients were clipped at a norm of {}",
        ),
        (
            "train.freeze_encoder_epochs",
            lambda o: o.has_encoder and bool(o["train.freeze_encoder_epochs"]),
            "The encoder was frozen for {} at the beginning",
        ),
        (
            "train.ema_decay",
            lambda o: o["train.ema_decay"] is not None,
            "Validated and kept were exponential moving averages of the weights (decay {})",
        ),
        (
            "train.patience",
            lambda o: o["train.patience"] is not None,
            "Training ended after {} without a better one",
        ),
    )
    words = [
        text.format(_with_unit(key, span(different(used, key, acted)))) + _share(used, acted)
        for key, acted, text in numbers
        if any(map(acted, used))
    ]
    if any(o["train.compile"] for o in used):
        words.append("Networks were compiled" + _share(used, lambda o: bool(o["train.compile"])))
    return [f"{word}." for word in [*words, *_micro_batches(used)]] + [_seeds(used)]


def _with_unit(key: str, number: str) -> str:
    if not key.endswith("_epochs") and key != "train.patience":
        return number
    return f"{number} {plural('epoch', 1 if number == '1' else 2)}"


def _micro_batches(used: Sequence[Used]) -> list[str]:
    some = [one for one in used if one.record.micro_batch is not None]
    if not some:
        return []
    return [
        f"In {count(len(some), 'trial')} a batch went through the network in parts of "
        f"{span([one.record.micro_batch for one in some])} images, as memory had no room for it; "
        "the loss was that of the whole batch"
    ]


def _seeds(used: Sequence[Used]) -> str:
    fixed = [one["train.seed"] for one in used if one["train.seed"] is not None]
    if not fixed:
        return "Each trial had a seed of its own, derived from that of the study."
    if len(fixed) == len(used):
        return f"{'Seeds' if len(set(fixed)) > 1 else 'The seed'} of training: {span(fixed)}."
    return f"Seeds of training: {span(fixed)}, else derived from that of the study."


def loss(used: Sequence[Used], cite: Cited) -> str:
    """The parts of the loss with their weights, then the options that acted."""
    met = dict.fromkeys(name for one in used for name in one.losses)
    names = [
        *(name for name in LOSS_PARTS if name in met),
        *(n for n in met if n not in LOSS_PARTS),
    ]
    if not names:
        return ""
    shown = among([cite(_LOSSES.get(n, n), references.LOSSES.get(n)) for n in names])
    ranges = ", ".join(f"{n} {span([o.losses.get(n, 0.0) for o in used])}" for n in names)
    many = f" (weights, divided by their sum: {ranges})" if len(names) > 1 else ""
    return " ".join([f"The loss was {shown}{many}.", *_loss_options(used)])


def _loss_options(used: Sequence[Used]) -> list[str]:
    acting: tuple[tuple[str, str, Callable[[Used], bool]], ...] = (
        ("loss.focal_gamma", "The exponent of the focal loss was {}.", _has("focal")),
        ("loss.tversky_alpha", "False alarms weighed {} in the Tversky loss.", _has("tversky")),
        (
            "loss.label_smoothing",
            "Labels were smoothed by {}.",
            lambda o: o.smooths_pixels and bool(o["loss.label_smoothing"]),
        ),
    )
    words = [
        text.format(span(different(used, key, acted)))
        for key, text, acted in acting
        if any(map(acted, used))
    ]
    options = dict.fromkeys(k for o in used for keys in o.loss_options.values() for k in keys)
    if options:
        each = [f"{key} {span(different(used, f'loss.{key}'))}" for key in options]
        words.append(f"Options of losses: {', '.join(each)}.")
    return [*words, *_class_weights(used)]


def _class_weights(used: Sequence[Used]) -> list[str]:
    some = [o for o in used if o.weighs_classes and o["loss.class_weights"] is not None]
    if not some:
        return []
    given = different(some, "loss.class_weights")
    texts = ["balanced" if w == "balanced" else ", ".join(f"{x:g}" for x in w) for w in given]
    worked_out = next((o.record.class_weights for o in some if o.record.class_weights), {})
    each = ", ".join(f"{name} {value:.3g}" for name, value in worked_out.items())
    return [f"Classes had weights: {'; '.join(texts)}{f' ({each})' if each else ''}."]


def _has(name: str) -> Callable[[Used], bool]:
    return lambda one: name in one.losses


def _takes_encoder(one: Used) -> bool:
    return one.takes_encoder


def _share(used: Sequence[Used], acted: Callable[[Used], bool]) -> str:
    """In how many trials something acted, where it was not in all."""
    n = sum(map(acted, used))
    return "" if n == len(used) else f" ({n} of {count(len(used), 'trial')})"


def _texts(
    used: Sequence[Used], key: str, where: Callable[[Used], bool] = lambda _: True
) -> list[str]:
    return [str(value) for value in different(used, key, where) if value is not None]


def _known(used: Sequence[Used]) -> Any:
    """Whether a whole configuration could be read; else only searched parameters are known."""
    return any("train.epochs" in one.settings for one in used)
