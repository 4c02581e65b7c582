"""Section of a model card on failures: strata, worst images, false alarms, confused classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.deploy.card.card_facts import CardFacts
from harness.deploy.card.confusion import confusion_bounds
from harness.deploy.card.markdown import escape_text, name_text, table
from harness.deploy.card.object_sizes import held_out_objects_table, validation_objects_table
from harness.deploy.card.results_section import interval_text, metric_title
from harness.evaluation.held_out.ledger import (
    DECISION_NAMES,
    TEST_SPLIT,
    HeldOutResult,
    HeldOutTest,
)
from harness.evaluation.held_out.recorded_objects import read_test_scores
from harness.evaluation.held_out.results import SIZE_BOUNDS, SIZE_NAMES, tabulate_scores
from harness.training.metrics.image_scores import ImageScores, metrics_per_entry

Floats = NDArray[np.float64]
N_WORST = 5
_DECISIONS = (
    "chosen",
    "argmax",
    "0.5",
)  # the first of them that a test run has is the deployed one
_MIN_CONFUSION = 0.005  # share of a class's pixels below which a confusion is not listed


@dataclass(frozen=True)
class WeakPointSource:
    """Numbers that the section is written from.

    Attributes:
        test: test run of these weights; None: the numbers are those of the validation images.
        decision: `at` of the results that are shown.
        scores: per image; None if the file is missing or is not the one of the test run.
    """

    test: HeldOutTest | None
    decision: str
    scores: ImageScores | None

    @property
    def sentence(self) -> str:
        """Origin of the numbers."""
        if self.test is None:
            return (
                "Not tested yet: from the validation images, which also chose epoch and trial; "
                "per-image Dice at the size of the metrics."
            )
        name = self.test.start.data.name
        images = "test images" if name == TEST_SPLIT else f"images of {escape_text(name)}"
        decided = DECISION_NAMES.get(self.decision, self.decision)
        return f"From test run {self.test.number}: {images} at native size, decided at {decided}."


def weak_points_section(facts: CardFacts) -> str:
    """Strata, objects by size, classes, false alarms, confusion, worst images."""
    source = _find_source(facts)
    if source.test is None:
        strata = _validation_strata(source.scores)
        objects = validation_objects_table(facts)
        classes = _validation_classes(facts, source.scores)
    else:
        strata, classes = _strata_table(source), _classes_table(source)
        objects = held_out_objects_table(source.scores)
    parts = [
        f"{source.sentence}\n",
        strata,
        objects,
        classes,
        _false_alarm_sentence(source),
        _confusion_table(facts, source.scores),
        _worst_images(facts, source),
    ]
    return "\n".join(part for part in parts if part)


def image_dice(scores: ImageScores, dice: Floats) -> list[tuple[str, float]]:
    """Mean Dice over the classes that an image contains, by name of the image, the worst first.

    Args:
        dice: of each entry; NaN if the image does not contain the class.
    """
    values: dict[tuple[int, str], list[float]] = {}
    for row, image, value in zip(scores.row.tolist(), scores.image, dice.tolist(), strict=True):
        if not np.isnan(value):
            values.setdefault((row, image), []).append(value)
    # The row breaks ties, so that the same scores always give the same list.
    ranked = sorted(values, key=lambda key: (float(np.mean(values[key])), key))
    return [(key[1], float(np.mean(values[key]))) for key in ranked]


def _find_source(facts: CardFacts) -> WeakPointSource:
    """The latest test run of these weights, on the study's own test images if there is one."""
    tests = facts.own_tests
    own_images = [test for test in tests if test.start.data.name == TEST_SPLIT]
    test = next(reversed(own_images or tests), None)
    if test is None:
        return WeakPointSource(None, "", facts.networks[0].scores)
    available = {result.at for result in test.results if result.metric == "dice"}
    decision = next(name for name in _DECISIONS if name in available)
    return WeakPointSource(test, decision, read_test_scores(facts.paths, test))


def _strata_table(source: WeakPointSource) -> str:
    results = [result for result in _dice_results(source) if result.stratum]
    rows = [
        (escape_text(result.stratum), str(result.n), *_dice_cells(result)) for result in results
    ]
    return table(("images with", "images", "Dice", "95 % interval"), rows)


def _dice_results(source: WeakPointSource) -> list[HeldOutResult]:
    results = () if source.test is None else source.test.results
    return [
        result
        for result in results
        if (result.metric, result.meaning, result.at) == ("dice", "image", source.decision)
    ]


def _dice_cells(result: HeldOutResult) -> tuple[str, str]:
    if result.value is None:
        return "–", "–"
    return f"{result.value:.4f}", interval_text(result.low, result.high)


def _classes_table(source: WeakPointSource) -> str:
    """Dice, recall and precision of each class of a test run with several classes."""
    results = () if source.test is None else source.test.results
    by_class: dict[str, dict[str, HeldOutResult]] = {}
    for result in results:
        if result.of and result.meaning == "image" and result.at == source.decision:
            by_class.setdefault(result.of, {})[result.metric] = result
    rows = []
    for name, metrics in by_class.items():
        others = [_number_text(metrics[key].value) for key in ("recall", "precision")]
        cells = _dice_cells(metrics["dice"])
        rows.append((escape_text(name), str(metrics["dice"].n), *cells, *others))
    return table(("class", "images", "Dice", "95 % interval", "recall", "precision"), rows)


def _validation_strata(scores: ImageScores | None) -> str:
    """Dice by size of the truth; the number of objects is counted by test runs only."""
    if scores is None:
        return ""
    total = (scores.tp + scores.fp + scores.fn + scores.tn).astype(np.float64)
    share = scores.sum_y / np.maximum(total, 1)
    strata = np.digitize(share, SIZE_BOUNDS[1:-1])
    dice = metrics_per_entry(scores)["dice"]
    rows = []
    for index, name in enumerate(SIZE_NAMES):
        chosen = scores.has_truth & (strata == index)
        value = _number_text(float(dice[chosen].mean()) if chosen.any() else None)
        rows.append((name, str(len(set(scores.row[chosen].tolist()))), value))
    return table(("images with", "images", "Dice"), rows)


def _validation_classes(facts: CardFacts, scores: ImageScores | None) -> str:
    classes = facts.config.data.scored_classes
    if scores is None or len(classes) < 2:
        return ""
    columns = metrics_per_entry(scores)
    rows = []
    for index in classes:
        chosen = scores.has_truth & (scores.class_index == index)
        values = [
            _number_text(float(columns[name][chosen].mean()) if chosen.any() else None)
            for name in ("dice", "recall", "precision")
        ]
        name = escape_text(facts.config.data.classes[index])
        rows.append((name, str(int(chosen.sum())), *values))
    titles = ("class", "images", *(metric_title(name) for name in ("dice", "recall", "precision")))
    return table(titles, rows)


def _false_alarm_sentence(source: WeakPointSource) -> str:
    results = () if source.test is None else source.test.results
    for result in results:
        if result.metric == "false_alarm_share" and result.at == source.decision:
            share = "–" if result.value is None else f"{100 * result.value:.3g} %"
            return f"Of {result.n} images without foreground, {share} have predicted foreground.\n"
    return ""


def _confusion_table(facts: CardFacts, scores: ImageScores | None) -> str:
    data = facts.config.data
    if data.task != "multiclass" or scores is None or not len(scores):
        return ""
    n = len(data.classes)
    least, greatest = confusion_bounds(scores, n)
    truth = (scores.tp + scores.fn).reshape(-1, n).sum(axis=0)
    shares = least / np.maximum(truth, 1)[:, None]
    order = np.argsort(-shares, axis=None, kind="stable")
    pairs = [(int(index) // n, int(index) % n) for index in order]
    rows = [
        (
            escape_text(data.classes[a]),
            escape_text(data.classes[b]),
            f"{100 * shares[a, b]:.3g} %",
            f"{100 * greatest[a, b] / max(1, int(truth[a])):.3g} %",
        )
        for a, b in pairs
        if shares[a, b] >= _MIN_CONFUSION
    ]
    if not rows:
        return "The sums per image prove no frequent confusion between two classes.\n"
    titles = ("true class", "predicted as", "at least, of its pixels", "at most")
    return f"Confused classes, as far as the sums per image tell:\n\n{table(titles, rows)}"


def _worst_images(facts: CardFacts, source: WeakPointSource) -> str:
    if source.scores is None:
        return "Scores of single images are missing, so the worst images are not known.\n"
    scores = source.scores
    dice = metrics_per_entry(scores)["dice"]
    if source.test is not None:
        above, below = tabulate_scores(scores, facts.config.data).values[
            "dice", "image", source.decision
        ]
        dice = np.where(below.ravel() > 0, above.ravel(), np.nan)
    rows = [(name_text(name), f"{value:.4f}") for name, value in image_dice(scores, dice)[:N_WORST]]
    return f"Worst images:\n\n{table(('image', 'Dice'), rows)}" if rows else ""


def _number_text(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
