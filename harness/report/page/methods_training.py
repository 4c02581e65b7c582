"""Sentences of the methods paragraph on networks, inputs, training and loss.

Each sentence names a setting only if it had an effect in at least one trial, and says in how many
trials if not in all. Values are ranges over the trials.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.config.catalogue import (
    BUILTIN_LOSS_ENTRIES,
    BUILTIN_LOSSES,
    NETWORKS,
    OPTIMIZERS,
    SCHEDULES,
    CatalogueEntry,
)
from harness.core.text import count, format_range, join_words, plural
from harness.report.page import references
from harness.report.page.references import CitationList
from harness.report.page.trained_trials import TrainedTrial, distinct_values


def networks_sentences(trials: Sequence[TrainedTrial], cite: CitationList) -> str:
    """Architectures with their options, encoders, encoder depth and initial weights."""
    arch_names = _distinct_texts(trials, "model.arch")
    archs = join_words([_cite_entry(name, NETWORKS, cite) for name in arch_names])
    subject = "The networks were" if len(arch_names) > 1 else "The network was"
    encoders = _distinct_texts(trials, "model.encoder_name", _takes_encoder)
    encoder_names = join_words([cite(e, references.encoder_reference(e)) for e in encoders])
    word = "encoders" if len(encoders) > 1 else "encoder"
    with_encoder = f" with the {word} {encoder_names}" if encoders else ""
    depth = format_range(distinct_values(trials, "model.encoder_depth", lambda t: t.has_encoder))
    stages = f", {depth} stages deep" if depth else ""
    weights = distinct_values(trials, "model.encoder_weights", _takes_encoder)
    origins = [_weights_text(name, cite) for name in weights]
    start = (
        f", initialised with {join_words(origins)}"
        if origins and any(trial.has_full_configuration for trial in trials)
        else ""
    )
    options_text = _network_options_sentence(trials)
    return f"{subject} {archs}{with_encoder}{stages}{start}.{options_text}"


def _network_options_sentence(trials: Sequence[TrainedTrial]) -> str:
    keys = dict.fromkeys(name for trial in trials for name in trial.network_options)
    options = [trial.network_options for trial in trials]
    option_texts = [
        f"{key} {_range_with_null([given[key] for given in options if key in given])}"
        for key in keys
    ]
    return f" Options of networks: {', '.join(option_texts)}." if option_texts else ""


def _range_with_null(values: Sequence[Any]) -> str:
    """A range as `format_range` writes it, with null if it is among the values."""
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


def training_sentences(trials: Sequence[TrainedTrial], cite: CitationList) -> str:
    """Optimiser, epochs, batch size, rates, schedule, decay, precision; then optional settings."""
    if not any(trial.has_full_configuration for trial in trials):
        return ""
    names = [_cite_entry(n, OPTIMIZERS, cite) for n in _distinct_texts(trials, "optim.name")]
    schedules = join_words(
        [_cite_entry(n, SCHEDULES, cite) for n in _distinct_texts(trials, "optim.schedule")]
    )
    precision = join_words(dict.fromkeys(o.record.precision for o in trials if o.record.precision))
    decay = distinct_values(trials, "optim.weight_decay")
    decay_text = f"weight decay {format_range(decay)}" if any(decay) else "no weight decay"
    sentence = (
        f"Training used {join_words(names)} for "
        f"{format_range([trial.record.epochs for trial in trials])} epochs at batch "
        f"size {format_range(distinct_values(trials, 'train.batch_size'))}, {_rates_text(trials)} "
        f"({schedules}), {decay_text}" + (f", in {precision}." if precision else ".")
    )
    return " ".join([sentence, *_optional_sentences(trials)])


def _rates_text(trials: Sequence[TrainedTrial]) -> str:
    """Peak learning rates; of encoder and rest separately if they differ in any trial."""
    rest = [trial.rates[1] for trial in trials]
    encoder = [trial.rates[0] for trial in trials if trial.rates[0] is not None]
    # A trial whose encoder stayed frozen has no rate of it, so nothing that could differ.
    if all(trial.rates[0] in (None, trial.rates[1]) for trial in trials):
        return f"learning rate {format_range(rest)}"
    return (
        f"learning rate {format_range(encoder)} of the encoder and {format_range(rest)} of the rest"
    )


def _optional_sentences(trials: Sequence[TrainedTrial]) -> list[str]:
    """One sentence for each optional setting that had an effect."""
    # Key, condition under which the setting has an effect, and sentence. A new setting of a trial
    # needs an entry here: a test changes every setting and expects another paragraph.
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
            "The encoder was initially frozen for {}",
        ),
        (
            "train.ema_decay",
            lambda o: o["train.ema_decay"] is not None,
            "Exponential moving averages of the weights (decay {}) were validated and saved",
        ),
        (
            "train.patience",
            lambda o: o["train.patience"] is not None,
            "Training stopped after {} without improvement",
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
        f"In {count(len(split_trials), 'trial')} each batch was split into micro-batches of "
        f"{format_range([trial.record.micro_batch for trial in split_trials])} images to fit into "
        "GPU memory; the loss is that of the full batch"
    ]


def _seeds_sentence(trials: Sequence[TrainedTrial]) -> str:
    seeds = [trial["train.seed"] for trial in trials if trial["train.seed"] is not None]
    if not seeds:
        return "Each trial had its own seed, derived from the seed of the study."
    if len(seeds) == len(trials):
        many = len(set(seeds)) > 1
        return f"The training {'seeds were' if many else 'seed was'} {format_range(seeds)}."
    return f"Training seeds were {format_range(seeds)}, otherwise derived from the study's seed."


def loss_sentences(trials: Sequence[TrainedTrial], cite: CitationList) -> str:
    """Terms of the loss with their weights, then the options that had an effect.

    "" without any config.yaml: a searched weight alone does not tell which other terms were added
    to it, and a fixed loss would be missing.
    """
    trials = [trial for trial in trials if trial.has_full_configuration]
    used_names = dict.fromkeys(name for trial in trials for name in trial.losses)
    names = [
        *(name for name in BUILTIN_LOSSES if name in used_names),
        *(n for n in used_names if n not in BUILTIN_LOSSES),
    ]
    if not names:
        return ""
    losses_text = join_words([_cite_entry(n, BUILTIN_LOSS_ENTRIES, cite) for n in names])
    ranges = ", ".join(f"{n} {format_range([o.losses.get(n, 0.0) for o in trials])}" for n in names)
    weights_text = f" (weights, normalised to sum to 1: {ranges})" if len(names) > 1 else ""
    sum_text = "a weighted sum of " if len(names) > 1 else ""
    sentence = f"The loss was {sum_text}{losses_text}{weights_text}."
    return " ".join([sentence, *_loss_option_sentences(trials)])


def _loss_option_sentences(trials: Sequence[TrainedTrial]) -> list[str]:
    option_sentences: tuple[tuple[str, str, Callable[[TrainedTrial], bool]], ...] = (
        *(
            (f"loss.{entry.option_key(option)}", option.sentence, _uses_loss(entry.name))
            for entry in BUILTIN_LOSS_ENTRIES.values()
            for option in entry.options
        ),
        ("loss.label_smoothing", "Label smoothing was {}.", _smooths_labels),
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
    return [f"Class weights: {'; '.join(texts)}{f' ({computed_text})' if computed_text else ''}."]


def _cite_entry(name: str, entries: Mapping[str, CatalogueEntry], cite: CitationList) -> str:
    """Title and reference of an entry; the name alone of a component that a user registered."""
    entry = entries.get(name)
    return name if entry is None else cite(entry.title or name, entry.reference)


def _uses_loss(name: str) -> Callable[[TrainedTrial], bool]:
    return lambda trial: name in trial.losses


def _smooths_labels(trial: TrainedTrial) -> bool:
    return trial.is_smoothing_active and bool(trial["loss.label_smoothing"])


def _takes_encoder(trial: TrainedTrial) -> bool:
    return trial.has_selectable_encoder


def _share_text(trials: Sequence[TrainedTrial], is_active: Callable[[TrainedTrial], bool]) -> str:
    """Number of trials in which a setting had an effect, ` (1 of 2 trials)`; "" if in all."""
    n = sum(map(is_active, trials))
    return "" if n == len(trials) else f" ({n} of {count(len(trials), 'trial')})"


def _distinct_texts(
    trials: Sequence[TrainedTrial],
    key: str,
    condition: Callable[[TrainedTrial], bool] = lambda _: True,
) -> list[str]:
    return [str(value) for value in distinct_values(trials, key, condition) if value is not None]
