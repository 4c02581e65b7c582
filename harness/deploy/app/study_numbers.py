"""Sentences on how good the weights of a deployment are: confirmed, leading, tested."""

from harness.config.measurements import BUILTIN_METRICS
from harness.core.records import read_record
from harness.core.text import count, join_words
from harness.deploy.app.rule_text import describe_rule
from harness.deploy.deployment import Deployment
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.confirm.results import Confirmation, ConfirmedConfiguration
from harness.evaluation.held_out.ledger import (
    TEST_SPLIT,
    HeldOutResult,
    HeldOutTest,
    read_held_out_ledger,
)
from harness.evaluation.statistics.intervals import MIN_IMAGES


def describe_numbers(deployment: Deployment) -> list[tuple[str, str]]:
    """Pairs of a heading and a sentence."""
    data = deployment.context.config.data
    names = [data.classes[index] for index in data.scored_classes]
    rule = deployment.rule
    return [
        *_validation_lines(deployment),
        *_test_lines(deployment),
        (
            "decision",
            f"{describe_rule(names, rule.rule.classes)}; chosen on "
            f"{count(rule.n_images, 'validation image')}",
        ),
    ]


def _validation_lines(deployment: Deployment) -> list[tuple[str, str]]:
    context = deployment.context
    metric = context.config.objective.metric
    confirmation = load_confirmation(context.paths)
    choice = None if confirmation is None else confirmation.choice
    if confirmation is not None and choice is not None and _is_choice(deployment, choice):
        return [("confirmed", _confirmed_sentence(metric, confirmation, choice))]
    record = read_record(deployment.weights[0].paths.trial_json)
    value = "not recorded" if record.value is None else f"{record.value:.4f}"
    return [
        (
            "validation",
            f"{metric} {value}: one training, on the images that chose it among all trials; not "
            "confirmed",
        )
    ]


def _is_choice(deployment: Deployment, choice: ConfirmedConfiguration) -> bool:
    labels = {f"confirm/{run.number}" for run in choice.runs}
    return all(member.label in labels for member in deployment.weights)


def _confirmed_sentence(
    metric: str, confirmation: Confirmation, choice: ConfirmedConfiguration
) -> str:
    interval = choice.interval
    mean = "not recorded" if choice.mean is None else f"{choice.mean:.4f}"
    limits = (
        f"no interval: fewer than {MIN_IMAGES} images"
        if interval is None
        else f"95 % interval {interval.low:.4f} to {interval.high:.4f}"
    )
    names = [f"{BUILTIN_METRICS[key].title} {value:.4f}" for key, value in choice.own.items()]
    own = f"; at native size {join_words(names)}" if names else ""
    runs = count(len(choice.values), confirmation.kind)
    verdict = f"{confirmation.sentence[:1].upper()}{confirmation.sentence[1:]}"
    return f"{metric} {mean} ({limits}), mean of {runs}{own}. {verdict}"


def _test_lines(deployment: Deployment) -> list[tuple[str, str]]:
    """The latest completed test run of exactly these weights on the study's test images."""
    ledger = read_held_out_ledger(deployment.context.paths)
    hashes = set(deployment.rule.weights.values())
    runs = [
        test
        for test in ledger.tests
        if test.start.data.name == TEST_SPLIT
        and set(test.start.weights.values()) == hashes
        and test.start.tta == deployment.tta
        and test.results
    ]
    if not runs:
        other = f"; {ledger.sentence()}" if ledger.tests else ""
        return [("test", f"not measured on the test images yet{other}")]
    results = "; ".join(_describe_result(result) for result in _headline_results(runs[-1]))
    n_images = count(runs[-1].start.data.n_images, "image")
    return [("test", f"{results}; {n_images}; {ledger.sentence()}")]


def _headline_results(test: HeldOutTest) -> list[HeldOutResult]:
    """Mean Dice and IoU over images by the rule that the page applies, as far as recorded."""
    headline = [
        result
        for result in test.results
        if result.meaning == "image"
        and result.metric in ("dice", "iou")
        and not result.of
        and not result.stratum
    ]
    for rule in ("cleaned", "chosen", "argmax", "0.5"):
        of_rule = [result for result in headline if result.at == rule]
        if of_rule:
            return of_rule
    return []


def _describe_result(result: HeldOutResult) -> str:
    name = {"dice": "Dice", "iou": "IoU"}[result.metric]
    if result.value is None:
        return f"{name} not defined"
    if result.low is None or result.high is None:
        return f"{name} {result.value:.4f} (no interval: fewer than {MIN_IMAGES} images)"
    return f"{name} {result.value:.4f} (95 % interval {result.low:.4f} to {result.high:.4f})"
