"""The sentences of the methods paragraph on networks, inputs, training and loss."""

from collections.abc import Callable, Sequence
from typing import Any

from harness.config.study import BUILTIN_LOSSES
from harness.core.text import count, format_range, join_words, plural
from harness.report.page import references
from harness.report.page.references import CitationList
from harness.report.page.trained_trials import TrainedTrial, distinct_values

_FIT_NAMES = {"stretch": "stretched", "pad": "scaled and padded"}
_OPTIMISER_NAMES = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}
_LOSS_NAMES = {"bce": "binary cross-entropy", "ce": "cross-entropy"}


def networks_sentences(trials: Sequence[TrainedTrial], cite: CitationList) -> str:
    """Architectures with their options, encoders, depth and first weights."""
    archs = cite.cite_all(_distinct_texts(trials, "model.arch"), dict(references.ARCHITECTURES))
    encoders = _distinct_texts(trials, "model.encoder_name", _takes_encoder)
    encoder_names = join_words(
        [cite(name, references.encoder_reference(name)) for name in encoders]
    )
    word = "encoders" if len(encoders) > 1 else "encoder"
    with_encoder = f" with the {word} {encoder_names}" if encoders else ""
    depth = format_range(
        distinct_values(trials, "model.encoder_depth", lambda trial: trial.has_encoder)
    )
    stages = f", {depth} stages deep" if depth else ""
    origins = [
        _weights_text(w, cite)
        for w in distinct_values(trials, "model.encoder_weights", _takes_encoder)
    ]
    start = (
        f", beginning with {join_words(origins)}"
        if origins and _has_full_configuration(trials)
        else ""
    )
    return f"Trained were {archs}{with_encoder}{stages}{start}.{_network_options_sentence(trials)}"


def _network_options_sentence(trials: Sequence[TrainedTrial]) -> str:
    keys = dict.fromkeys(name for trial in trials for name in trial.network_options)
    options = [trial.network_options for trial in trials]
    option_texts = [
        f"{key} {_range_with_null([given[key] for given in options if key in given])}"
        for key in keys
    ]
    return f" Options of networks: {', '.join(option_texts)}." if option_texts else ""


def _range_with_null(values: Sequence[Any]) -> str:
    """As `span`, and null where it is among the values."""
    return join_words(
        [text for text in (format_range(values), "null" if None in values else "") if text]
    )


def _weights_text(weights: str | None, cite: CitationList) -> str:
    if weights is None:
        return "random weights"
    return (
        cite("ImageNet weights", references.IMAGENET)
        if weights == "imagenet"
        else (f"{weights} weights")
    )


def inputs_sentence(trials: Sequence[TrainedTrial], cite: CitationList) -> str:
    """Size, fit, normalisation and augmentation of the images."""
    if not _has_full_configuration(trials):
        return ""
    sizes = distinct_values(trials, "data.image_size")
    sizes_text = join_words(
        [f"{s} × {s}" if isinstance(s, int) else " × ".join(map(str, s)) for s in sizes]
    )
    fits = join_words([_FIT_NAMES.get(fit, fit) for fit in _distinct_texts(trials, "data.fit")])
    augments = _distinct_texts(trials, "data.augment")
    normalisations = join_words(_distinct_texts(trials, "data.normalize"))
    text = f"Images were {fits} to {sizes_text} pixels, normalised ({normalisations})"
    if augments == ["none"]:
        return f"{text}, and not augmented."
    library = cite("albumentations", references.LIBRARIES["albumentations"])
    return f"{text} and augmented with {library} ({join_words(augments)})."


def training_sentences(trials: Sequence[TrainedTrial], cite: CitationList) -> str:
    """Optimiser, epochs, batch, rates, schedule, decay and precision; then what else acted."""
    if not _has_full_configuration(trials):
        return ""
    names = [
        cite(_OPTIMISER_NAMES.get(n, n), references.OPTIMISERS.get(n))
        for n in _distinct_texts(trials, "optim.name")
    ]
    schedules = cite.cite_all(_distinct_texts(trials, "optim.schedule"), dict(references.SCHEDULES))
    precision = join_words(dict.fromkeys(o.record.precision for o in trials if o.record.precision))
    decay = distinct_values(trials, "optim.weight_decay")
    decay_text = f"weight decay {format_range(decay)}" if any(decay) else "no weight decay"
    sentence = (
        f"{join_words(names)} trained for "
        f"{format_range([trial.record.epochs for trial in trials])} epochs at batch "
        f"size {format_range(distinct_values(trials, 'train.batch_size'))}, {_rates_text(trials)} "
        f"({schedules}), "
        f"{decay_text}" + (f", in {precision}." if precision else ".")
    )
    return " ".join([sentence, *_optional_sentences(trials)])


def _rates_text(trials: Sequence[TrainedTrial]) -> str:
    """The rates that weights had: of encoder and rest apart where they differed in any trial."""
    rest = [trial.rates[1] for trial in trials]
    encoder = [trial.rates[0] for trial in trials if trial.rates[0] is not None]
    if all(trial.rates[0] in (None, trial.rates[1]) for trial in trials):
        return f"learning rate {format_range(rest)}"
    return (
        f"learning rate {format_range(encoder)} of the encoder and {format_range(rest)} of the rest"
    )


def _optional_sentences(trials: Sequence[TrainedTrial]) -> list[str]:
    """A sentence for each setting that acts only where it is set."""
    numbers: tuple[tuple[str, Callable[[TrainedTrial], bool], str], ...] = (
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
    sentences = [
        text.format(_with_unit(key, format_range(distinct_values(trials, key, is_active))))
        + _share_text(trials, is_active)
        for key, is_active, text in numbers
        if any(map(is_active, trials))
    ]
    if any(o["train.compile"] for o in trials):
        sentences.append(
            "Networks were compiled" + _share_text(trials, lambda o: bool(o["train.compile"]))
        )
    return [f"{sentence}." for sentence in [*sentences, *_micro_batch_sentences(trials)]] + [
        _seeds_sentence(trials)
    ]


def _with_unit(key: str, number: str) -> str:
    if not key.endswith("_epochs") and key != "train.patience":
        return number
    return f"{number} {plural('epoch', 1 if number == '1' else 2)}"


def _micro_batch_sentences(trials: Sequence[TrainedTrial]) -> list[str]:
    split_trials = [trial for trial in trials if trial.record.micro_batch is not None]
    if not split_trials:
        return []
    return [
        f"In {count(len(split_trials), 'trial')} a batch went through the network in parts of "
        f"{format_range([trial.record.micro_batch for trial in split_trials])} images, as memory "
        "had no room for it; "
        "the loss was that of the whole batch"
    ]


def _seeds_sentence(trials: Sequence[TrainedTrial]) -> str:
    seeds = [trial["train.seed"] for trial in trials if trial["train.seed"] is not None]
    if not seeds:
        return "Each trial had a seed of its own, derived from that of the study."
    if len(seeds) == len(trials):
        return (
            f"{'Seeds' if len(set(seeds)) > 1 else 'The seed'} of training: {format_range(seeds)}."
        )
    return f"Seeds of training: {format_range(seeds)}, else derived from that of the study."


def loss_sentences(trials: Sequence[TrainedTrial], cite: CitationList) -> str:
    """The parts of the loss with their weights, then the options that acted."""
    used_names = dict.fromkeys(name for trial in trials for name in trial.losses)
    names = [
        *(name for name in BUILTIN_LOSSES if name in used_names),
        *(n for n in used_names if n not in BUILTIN_LOSSES),
    ]
    if not names:
        return ""
    losses_text = join_words([cite(_LOSS_NAMES.get(n, n), references.LOSSES.get(n)) for n in names])
    ranges = ", ".join(f"{n} {format_range([o.losses.get(n, 0.0) for o in trials])}" for n in names)
    weights_text = f" (weights, divided by their sum: {ranges})" if len(names) > 1 else ""
    return " ".join([f"The loss was {losses_text}{weights_text}.", *_loss_option_sentences(trials)])


def _loss_option_sentences(trials: Sequence[TrainedTrial]) -> list[str]:
    option_sentences: tuple[tuple[str, str, Callable[[TrainedTrial], bool]], ...] = (
        ("loss.focal_gamma", "The exponent of the focal loss was {}.", _uses_loss("focal")),
        (
            "loss.tversky_alpha",
            "False alarms weighed {} in the Tversky loss.",
            _uses_loss("tversky"),
        ),
        (
            "loss.label_smoothing",
            "Labels were smoothed by {}.",
            lambda o: o.is_smoothing_active and bool(o["loss.label_smoothing"]),
        ),
    )
    sentences = [
        text.format(format_range(distinct_values(trials, key, is_active)))
        for key, text, is_active in option_sentences
        if any(map(is_active, trials))
    ]
    options = dict.fromkeys(k for o in trials for keys in o.loss_options.values() for k in keys)
    if options:
        option_texts = [
            f"{key} {format_range(distinct_values(trials, f'loss.{key}'))}" for key in options
        ]
        sentences.append(f"Options of losses: {', '.join(option_texts)}.")
    return [*sentences, *_class_weight_sentences(trials)]


def _class_weight_sentences(trials: Sequence[TrainedTrial]) -> list[str]:
    weighted_trials = [
        o for o in trials if o.are_class_weights_active and o["loss.class_weights"] is not None
    ]
    if not weighted_trials:
        return []
    settings = distinct_values(weighted_trials, "loss.class_weights")
    texts = ["balanced" if w == "balanced" else ", ".join(f"{x:g}" for x in w) for w in settings]
    computed = next((o.record.class_weights for o in weighted_trials if o.record.class_weights), {})
    computed_text = ", ".join(f"{name} {value:.3g}" for name, value in computed.items())
    return [
        f"Classes had weights: {'; '.join(texts)}{f' ({computed_text})' if computed_text else ''}."
    ]


def _uses_loss(name: str) -> Callable[[TrainedTrial], bool]:
    return lambda trial: name in trial.losses


def _takes_encoder(trial: TrainedTrial) -> bool:
    return trial.has_selectable_encoder


def _share_text(trials: Sequence[TrainedTrial], is_active: Callable[[TrainedTrial], bool]) -> str:
    """In how many trials something acted, where it was not in all."""
    n = sum(map(is_active, trials))
    return "" if n == len(trials) else f" ({n} of {count(len(trials), 'trial')})"


def _distinct_texts(
    trials: Sequence[TrainedTrial],
    key: str,
    condition: Callable[[TrainedTrial], bool] = lambda _: True,
) -> list[str]:
    return [str(value) for value in distinct_values(trials, key, condition) if value is not None]


def _has_full_configuration(trials: Sequence[TrainedTrial]) -> Any:
    """Whether a whole configuration could be read; else only searched parameters are known."""
    return any("train.epochs" in trial.settings for trial in trials)
