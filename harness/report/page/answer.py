"""Answer at the top of the page: its state, its numbers with intervals, and what was asked."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from harness.config.measurements import BUILTIN_METRICS, PRIMARY_METRICS
from harness.core.records import TrialRecord
from harness.core.text import count, display_value, join_words
from harness.data.datasets.pairs import Role
from harness.data.splits.splits import SplitRow
from harness.evaluation.confirm.results import Confirmation, ConfirmedConfiguration
from harness.evaluation.held_out.ledger import (
    DECISION_NAMES,
    TEST_SPLIT,
    HeldOutLedger,
    HeldOutResult,
    HeldOutTest,
)
from harness.evaluation.statistics.intervals import MIN_IMAGES
from harness.report.analysis.image_values import trial_mean_interval
from harness.report.tables.study_tables import StudyTables, ranked_records

AnswerState = Literal["none", "leading", "confirmed", "tested"]

BADGES: Final[dict[AnswerState, str]] = {
    "none": "No result yet",
    "leading": "Leading, not confirmed",
    "confirmed": "Confirmed",
    "tested": "Tested",
}
# The frozen rule comes before its parts, and these before the default.
_DECISION_ORDER: Final = ("cleaned", "chosen", "argmax", "0.5")
_MAX_SETTINGS: Final = 8  # of the configuration; more are counted


@dataclass(frozen=True)
class AnswerNumber:
    """A number in large type; `interval` is its 95 % interval, or the reason why it has none."""

    title: str
    value: str
    interval: str = ""


@dataclass(frozen=True)
class Answer:
    """Result of a study in its furthest state.

    Attributes:
        trial: trial of the search with this configuration; None without a result.
        sentence: what the numbers rest on.
        configuration: searched parameters of the trial, as texts.
    """

    state: AnswerState
    trial: int | None
    sentence: str
    numbers: tuple[AnswerNumber, ...] = ()
    configuration: tuple[str, ...] = ()

    @property
    def badge(self) -> str:
        """State in words."""
        return BADGES[self.state]


def build_answer(
    tables: StudyTables, confirmation: Confirmation | None, ledger: HeldOutLedger
) -> Answer:
    """Describe the result: of the test images, else of the confirmation, else of the search."""
    choice = None if confirmation is None else confirmation.choice
    ranked = ranked_records(tables)
    number = choice.trial if choice else ranked[0].number if ranked else None
    if number is None:
        return Answer("none", None, "No trial is complete yet, so there is nothing to rank.")
    settings = _configuration(tables, number)
    test = find_relevant_test(ledger, confirmation, number)
    if test is not None:
        sentence = _test_sentence(test, ledger, confirmation)
        return Answer("tested", number, sentence, _test_numbers(test), settings)
    if confirmation is not None and choice is not None:
        sentence = f"{confirmation.sentence[:1].upper()}{confirmation.sentence[1:]}"
        numbers = _confirmed_numbers(tables, choice, confirmation.kind)
        return Answer("confirmed", number, sentence, numbers, settings)
    sentence = _leading_sentence(ranked)
    return Answer("leading", number, sentence, _leading_numbers(tables, ranked[0]), settings)


def find_relevant_test(
    ledger: HeldOutLedger, confirmation: Confirmation | None, number: int
) -> HeldOutTest | None:
    """The last test run with results of the choice, or of the leading trial before a choice."""
    choice = None if confirmation is None else confirmation.choice
    labels = {str(number)} if choice is None else {f"confirm/{run.number}" for run in choice.runs}
    tests = [
        test
        for test in ledger.tests
        if test.start.data.name == TEST_SPLIT and test.results and set(test.start.weights) <= labels
    ]
    return tests[-1] if tests else None


def asked_text(tables: StudyTables, split: Sequence[SplitRow]) -> str:
    """Metric, data and number of images of each role, in one line."""
    objective = tables.config.objective
    direction = "lowest" if objective.minimized else "highest"
    roles = Counter(row.role for row in split)
    names: dict[Role, str] = {"train": "training", "val": "validation", "test": "test"}
    images = [f"{roles[role]} {name}" for role, name in names.items() if roles[role]]
    images_text = f", {join_words(images)} images" if images else ""
    return f"{direction} {objective.metric} on {tables.config.data.root}{images_text}"


def default_question(tables: StudyTables) -> str:
    """Question of a study whose study.yaml states none."""
    keys = [_short_key(key) for key in tables.parameters]
    metric = tables.config.objective.metric
    if not keys:
        return f"Which {metric} does this configuration reach?"
    names = join_words(keys) if len(keys) <= 4 else f"{count(len(keys), 'setting')}"
    return f"Which values of {names} give the best {metric}?"


def _leading_sentence(ranked: Sequence[TrialRecord]) -> str:
    leader = ranked[0]
    if len(ranked) == 1:
        return f"Trial {leader.number} is the only complete trial, trained on one seed."
    gap = abs((ranked[1].value or 0.0) - (leader.value or 0.0))
    return (
        f"Trial {leader.number} leads {count(len(ranked), 'complete trial')}, {gap:.4f} ahead of "
        f"trial {ranked[1].number}. The images that chose it also measured it, and part of its "
        "lead is chance."
    )


def _leading_numbers(tables: StudyTables, leader: TrialRecord) -> tuple[AnswerNumber, ...]:
    metric = tables.config.objective.metric
    numbers = [_leading_number(tables, leader, metric, leader.value)]
    for name in (*PRIMARY_METRICS, "miou"):
        value = leader.best.get(f"best/{name}")
        if value is not None and math.isfinite(value) and f"val/{name}" != metric:
            numbers.append(_leading_number(tables, leader, f"val/{name}", value))
    return tuple(numbers)


def _leading_number(
    tables: StudyTables, leader: TrialRecord, metric: str, value: float | None
) -> AnswerNumber:
    interval = trial_mean_interval(tables, leader, metric.removeprefix("val/"))
    limits = "" if interval is None else _interval_text(interval.low, interval.high)
    return AnswerNumber(metric, f"{value:.4f}", limits)


def _confirmed_numbers(
    tables: StudyTables, choice: ConfirmedConfiguration, kind: str
) -> tuple[AnswerNumber, ...]:
    interval = choice.interval
    limits = "" if interval is None else _interval_text(interval.low, interval.high)
    title = f"{tables.config.objective.metric}, mean of {count(len(choice.values), kind)}"
    numbers = [] if choice.mean is None else [AnswerNumber(title, f"{choice.mean:.4f}", limits)]
    own = [
        AnswerNumber(f"{BUILTIN_METRICS[name].title} at native size", f"{choice.own[name]:.4f}")
        for name in PRIMARY_METRICS
        if name in choice.own
    ]
    return (*numbers, *own)


def _test_numbers(test: HeldOutTest) -> tuple[AnswerNumber, ...]:
    numbers: list[AnswerNumber] = []
    for name in (*PRIMARY_METRICS, "miou"):
        result = _overall_result(test, name)
        if result is None or result.value is None:
            continue
        limits = "" if result.low is None else _interval_text(result.low, result.high or 0.0)
        title = f"test {BUILTIN_METRICS[name].title}"
        # One reason is enough: all numbers have the same images.
        too_few = "" if numbers else f"no interval: fewer than {MIN_IMAGES} images"
        numbers.append(AnswerNumber(title, f"{result.value:.4f}", limits or too_few))
    return tuple(numbers)


def _overall_result(test: HeldOutTest, metric: str) -> HeldOutResult | None:
    """Mean over all test images of a metric, by the furthest decision that was measured."""
    overall = {
        result.at: result
        for result in test.results
        if result.metric == metric
        and not result.of
        and not result.stratum
        and (result.meaning == "image" or metric == "miou")
    }
    return next((overall[decision] for decision in _DECISION_ORDER if decision in overall), None)


def _test_sentence(
    test: HeldOutTest, ledger: HeldOutLedger, confirmation: Confirmation | None
) -> str:
    result = _overall_result(test, PRIMARY_METRICS[0])
    rule = "" if result is None else f" ({DECISION_NAMES[result.at]})"
    n_tests = ledger.count_tests()
    choice = None if confirmation is None else confirmation.choice
    origin = "before any confirmation" if choice is None else "after the confirmation"
    opened = "opened by no earlier step" if n_tests == 1 else f"opened by {n_tests} test runs"
    sentence = (
        f"Measured {origin} on {count(test.start.data.n_images, 'test image')} at native size"
        f"{rule}, {opened}."
    )
    if n_tests > 1:
        sentence += " Choices made after the first run make later values too optimistic."
    return sentence


def _configuration(tables: StudyTables, number: int) -> tuple[str, ...]:
    params = next((r.params for r in tables.records if r.number == number), {})
    texts = [f"{_short_key(key)} {display_value(value)}" for key, value in params.items()]
    more = [f"{len(texts) - _MAX_SETTINGS} more"] if len(texts) > _MAX_SETTINGS else []
    return (f"trial {number}", *texts[:_MAX_SETTINGS], *more)


def _short_key(key: str) -> str:
    return key.removeprefix("model.").removeprefix("options.")


def _interval_text(low: float, high: float) -> str:
    return f"95 %: {low:.4f} to {high:.4f}"
