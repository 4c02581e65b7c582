"""Sections of a model card on numbers: validation, test runs, decision rule, parity."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from harness.config.decision_rule import ClassDecision
from harness.config.measurements import BUILTIN_METRICS, PRIMARY_METRICS
from harness.core.errors import UserError
from harness.core.text import count
from harness.deploy.card.card_facts import CardFacts, NetworkFacts
from harness.deploy.card.markdown import escape_text, name_text, table
from harness.evaluation.held_out.ledger import (
    DECISION_NAMES,
    TEST_SPLIT,
    HeldOutResult,
    HeldOutTest,
    LedgerFailure,
)
from harness.evaluation.statistics.image_values import per_image_values
from harness.evaluation.statistics.intervals import MIN_IMAGES, ConfidenceInterval, mean_interval

_PARITY_ROWS = (
    ("images", "kind of images", "{}"),
    ("n_images", "images", "{}"),
    ("equal_pixels", "share of equal mask pixels", "{:.6f}"),
    ("max_abs_dp", "largest difference of a probability", "{:.2g}"),
    ("ddice", "mean Dice of the bundle minus that of harness", "{:+.2g}"),
    ("max_abs_ddice", "largest difference of the Dice of an image", "{:.2g}"),
)
_PRECISION_NOTES = {
    "fp32": "",
    "fp16": " The network computes in 16-bit floats, so values differ; the results on validation "
    "and test images are those before the conversion.",
    "int8": " The network computes in 8-bit integers, calibrated on training images, so values "
    "differ; the results on validation and test images are those before the conversion.",
}
_TOO_FEW = f"fewer than {MIN_IMAGES} images"


def validation_section(facts: CardFacts) -> str:
    """Confirmed values, if any, and the values of the weights themselves."""
    titles = ("weights", "metric", "value", "95 % interval", "basis")
    rows = [*_confirmed_rows(facts), *(r for n in facts.networks for r in _network_rows(facts, n))]
    note = (
        f"Metrics at {facts.config.data.metrics_size_text} unless stated otherwise. These images "
        "also chose epoch, trial and decision rule, so the values of a single trial are optimistic."
    )
    return f"{note}\n\n{table(titles, rows)}"


def tests_section(facts: CardFacts) -> str:
    """Number of test runs, and the result of each."""
    sentence = escape_text(facts.ledger.sentence())
    if not facts.ledger.tests:
        never = "" if facts.ledger.damaged_lines else " The test images were never opened."
        return f"{sentence[:1].upper()}{sentence[1:]}.{never}\n"
    titles = ("run", "date", "images", "weights", "metric", "decided at", "value", "95 % interval")
    rows = [row for test in facts.ledger.tests for row in _test_rows(facts, test)]
    note = "Every choice that is made after a test run is influenced by its images. "
    own = len(facts.own_tests)
    note += (
        f"{own} of these runs measured exactly these weights."
        if own
        else ("None of these runs measured exactly these weights.")
    )
    return f"{sentence[:1].upper()}{sentence[1:]}. {note}\n\n{table(titles, rows)}"


def rule_section(facts: CardFacts) -> str:
    """Threshold and clean-up of each class."""
    frozen, data = facts.deployment.rule, facts.config.data
    rows = [
        (escape_text(data.classes[index]), *_decision_cells(entry))
        for index, entry in zip(data.scored_classes, frozen.rule.classes, strict=True)
    ]
    titles = ("class", "threshold", "holes", "smallest object", "objects")
    flips = " Probabilities are averaged over four flips." if frozen.tta else ""
    origin = f"Chosen on {count(frozen.n_images, 'validation image')} and frozen."
    if not frozen.n_images:
        origin = "Not chosen on images: the validation images were missing."
    return f"{origin}{flips} Sizes are pixels at the image's own size.\n\n{table(titles, rows)}"


def parity_section(parity: Mapping[str, Any] | None, precision: str = "fp32") -> str:
    """Agreement of the bundle's own runner with harness; `parity` is that entry of model.json."""
    if parity is None:
        return "Not measured.\n"
    rows = [
        (title, form.format(parity[key]))
        for key, title, form in _PARITY_ROWS
        if parity.get(key) is not None
    ]
    return (
        "The bundle's `predict.py` in a process of its own, against harness, from image file to "
        f"mask.{_PRECISION_NOTES[precision]}\n\n{table(('quantity', 'value'), rows)}"
    )


def metric_title(metric: str) -> str:
    """Title of a metric for readers; its name, escaped, if harness does not know it."""
    entry = BUILTIN_METRICS.get(metric)
    return escape_text(entry.title or metric) if entry else escape_text(metric)


def interval_text(low: float | None, high: float | None) -> str:
    """`0.7012 to 0.8034`, or the reason why there is no interval."""
    return _TOO_FEW if low is None or high is None else f"{low:.4f} to {high:.4f}"


def _confirmed_rows(facts: CardFacts) -> Iterable[tuple[str, ...]]:
    if not facts.is_confirmed or facts.confirmation is None or facts.confirmation.choice is None:
        return
    choice, kind = facts.confirmation.choice, facts.confirmation.kind
    runs = f"{count(len(choice.values), kind)}"
    spread = "" if choice.deviation is None else f", standard deviation {choice.deviation:.4f}"
    interval = choice.interval
    limits = (
        f"too few {kind}s or images"
        if interval is None
        else interval_text(interval.low, interval.high)
    )
    metric = name_text(facts.config.objective.metric)
    if choice.mean is not None:
        yield "configuration", metric, f"{choice.mean:.4f}", limits, f"mean of {runs}{spread}"
    for name in PRIMARY_METRICS:
        if name in choice.own:
            title = f"{metric_title(name)}, own size"
            yield "configuration", title, f"{choice.own[name]:.4f}", "–", f"mean of {runs}"
    yield (
        "configuration",
        metric,
        f"{choice.searched:.4f}",
        "–",
        f"in the search, trial {choice.trial}",
    )


def _network_rows(facts: CardFacts, network: NetworkFacts) -> Iterable[tuple[str, ...]]:
    objective = facts.config.objective.metric
    names = dict.fromkeys([objective.removeprefix("val/"), *PRIMARY_METRICS])
    n_images = sum(row.role == "val" for row in network.split)
    basis = f"{count(n_images, 'validation image')}, best epoch"
    for name in names:
        value = network.record.best.get(f"best/{name}")
        if value is None and name == objective.removeprefix("val/"):
            value = network.record.value
        if value is None:
            continue
        interval = _image_interval(network, name)
        limits = interval_text(*(None, None) if interval is None else (interval.low, interval.high))
        title = name_text(objective) if f"val/{name}" == objective else metric_title(name)
        yield escape_text(network.weights.label), title, f"{value:.4f}", limits, basis


def _image_interval(network: NetworkFacts, metric: str) -> ConfidenceInterval | None:
    """Interval over images of one network; None with too few, or for a metric that is no mean."""
    if network.scores is None:
        return None
    try:
        values = per_image_values(network.scores, metric).to_numpy()
    except UserError:
        return None
    return mean_interval(np.asarray(values, np.float64))


def _test_rows(facts: CardFacts, test: HeldOutTest) -> Iterable[tuple[str, ...]]:
    start = test.start
    name = "test images" if start.data.name == TEST_SPLIT else escape_text(start.data.name)
    is_own = test in facts.own_tests
    labels = escape_text(" + ".join(start.weights)) + (" (four flips)" if start.tta else "")
    weights = f"{labels}, these" if is_own else f"{labels}, other"
    lead = (str(test.number), escape_text(start.at), f"{start.data.n_images} {name}", weights)
    main_results = [result for result in test.results if _is_main_result(result)]
    for result in main_results:
        yield (*lead, metric_title(result.metric), _decision_name(result.at), *_value_cells(result))
    if not main_results:
        reason = "failed" if isinstance(test.end, LedgerFailure) else "interrupted"
        yield (*lead, "–", "–", reason, "–")


def _is_main_result(result: HeldOutResult) -> bool:
    is_overall = not result.of and not result.stratum
    return is_overall and result.meaning == "image" and result.metric in PRIMARY_METRICS


def _value_cells(result: HeldOutResult) -> tuple[str, str]:
    if result.value is None:
        return "–", "–"
    return f"{result.value:.4f}", interval_text(result.low, result.high)


def _decision_name(decision: str) -> str:
    return DECISION_NAMES.get(decision, decision)


def _decision_cells(entry: ClassDecision) -> tuple[str, str, str, str]:
    return (
        "argmax" if entry.threshold is None else f"p ≥ {entry.threshold:g}",
        "filled" if entry.fill_holes else "as predicted",
        count(entry.min_size, "pixel") if entry.min_size > 1 else "any",
        "the largest alone" if entry.largest_only else "all",
    )
