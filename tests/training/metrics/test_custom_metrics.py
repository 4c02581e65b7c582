"""Metrics of the user's own: what they see, what becomes of it, and what fails."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.config import components
from harness.config.component_interface import Component
from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.study import ObjectiveConfig
from harness.core.errors import ConfigError, DataError
from harness.training.metrics.custom_metrics import compute_custom_metrics, study_metrics
from harness.training.metrics.image_scores import (
    read_scores,
    scores_from_entries,
    summarise_scores,
    write_scores,
)
from harness.training.metrics.validation import validate_network
from tests.training.metrics.test_image_scores import HALF_FOUND
from tests.training.metrics.test_validation import CPU, PLAIN, Red, cache_of

THREE = StudyDataConfig(task="multiclass", classes=("a", "b", "c"))
LABELS = StudyDataConfig(task="multilabel", classes=("a", "b"))


def metric(build: Any, **about: Any) -> Component:
    return Component("metric", "mine", build, origin="parts.py", **about)


def seen_by(data: StudyDataConfig, p: np.ndarray, truths: np.ndarray) -> list[Any]:
    """What a metric is called with, image by image and class by class."""
    calls: list[Any] = []

    def remember(probability: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> float:
        assert probability.dtype == np.float32 and truth.dtype == valid.dtype == bool
        calls.append((probability.tolist(), truth.tolist(), valid.tolist()))
        return float(len(calls))

    values = list(compute_custom_metrics([metric(remember)], p, truths, data, ["one.png"]))
    assert values == [[k + 1.0] for k in range(len(calls))]
    return calls


def test_what_a_metric_sees_in_each_task() -> None:
    p = np.array([[[0.25, 0.75]]], np.float32)
    truth = np.array([[[1, IGNORE_INDEX]]], np.uint8)
    yes, no = [[True, False]], [[False, False]]
    assert seen_by(StudyDataConfig(), p, truth) == [([[0.25, 0.75]], yes, yes)]
    p3 = np.stack([p[0], p[0] / 2, p[0] / 4])[None]
    assert seen_by(THREE, p3, truth) == [
        ([[0.25, 0.75]], no, yes),
        ([[0.125, 0.375]], yes, yes),
        ([[0.0625, 0.1875]], no, yes),
    ]
    both = np.array([[[[1, 0], [0, 1]]]], np.uint8)
    assert seen_by(LABELS, p3[:, :2], both) == [
        ([[0.25, 0.75]], [[True, False]], [[True, True]]),
        ([[0.125, 0.375]], [[False, True]], [[True, True]]),
    ]


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (
            lambda: math.nan,
            r"parts.py: metric 'mine' returned nan for image one.png, class foreground",
        ),
        (
            lambda: math.inf,
            "metric 'mine' returned inf for .*; it must return a finite number, or None",
        ),
        (lambda: "many", "metric 'mine' returned 'many' for image one.png"),
        (lambda: [][1], "parts.py: metric 'mine': IndexError: list index out of range"),
    ],
)
def test_what_a_metric_must_not_give(gives: Any, said: str) -> None:
    def mine(probability: Any, truth: Any, valid: Any) -> Any:
        return gives()

    p, truth = np.zeros((1, 2, 2), np.float32), np.zeros((1, 2, 2), np.uint8)
    with pytest.raises(ConfigError, match=said):
        list(compute_custom_metrics([metric(mine)], p, truth, StudyDataConfig(), ["one.png"]))


@pytest.mark.parametrize("argument", ["probability", "truth", "valid"])
def test_metric_that_writes_into_what_it_is_given_fails_and_spoils_nothing(argument: str) -> None:
    def mine(**given: Any) -> float:
        given[argument][:] = 0
        return 1.0

    images = np.full((1, 2, 2, 3), 255, np.uint8)
    data = StudyDataConfig(eval_size=16)
    cache = cache_of(images, np.ones((1, 16, 16), np.uint8), (0, 0, 2, 2), data)
    with pytest.raises(ConfigError, match=r"metric 'mine': ValueError: .*read-only"):
        validate_network(
            Red(), cache, cache.val, names={10: "a"}, device=CPU, normalizer=PLAIN, batch_size=1,
            metrics=[metric(mine)],
        )  # fmt: skip
    p = np.ones((1, 2, 2), np.float32)
    list(
        compute_custom_metrics(
            [metric(lambda probability, truth, valid: 1.0)], p, p > 2, data, ["a"]
        )
    )
    assert p.flags.writeable, "the array of the caller stays as it is"


def test_metric_is_the_mean_over_classes_of_means_over_images_that_count() -> None:
    """Class 0 counts in two images, 10 and 20; class 2 in one, -5; class 1 in none."""
    row, name, _, *sums = HALF_FOUND
    entries: Any = [(n, name, index, *sums) for n in (row, row + 1) for index in range(3)]
    nan = math.nan
    scores = scores_from_entries(
        entries, {"far": [10.0, nan, nan, 20.0, nan, -5.0], "none": [nan] * 6}
    )
    summary = summarise_scores(scores, THREE)
    assert summary["val/far"] == (15.0 - 5.0) / 2
    assert "val/none" not in summary
    assert {k: v for k, v in summary.items() if k != "val/far"} == summarise_scores(
        scores_from_entries(entries), THREE
    )


def test_columns_of_a_scores_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    far = [0.1 + 0.2, math.nan]
    write_scores(path, scores_from_entries([HALF_FOUND, HALF_FOUND], {"far": far}))
    lines = path.read_text().splitlines()
    assert lines[0].endswith(",tn,far") and lines[1].endswith(f",{far[0]!r}")
    assert lines[2].endswith(",")
    read = read_scores(path).extra_columns
    assert list(read) == ["far"] and np.array_equal(read["far"], far, equal_nan=True)
    for wrong in ("inf", "nan", "x", "1,1"):
        path.write_text("\n".join([lines[0], lines[2] + wrong]))
        with pytest.raises(DataError, match=r"scores.csv:2: not a row of scores"):
            read_scores(path)


def test_validation_gives_a_column_in_the_order_of_its_entries() -> None:
    images = np.zeros((3, 2, 2, 3), np.uint8)
    truths = np.zeros((3, 2, 2), np.uint8)
    truths[0], truths[2, 0, 0] = 1, 1

    def area(probability: Any, truth: Any, valid: Any) -> float | None:
        return int(truth.sum()) or None

    cache = cache_of(images, truths, (0, 0, 2, 2), StudyDataConfig(eval_size=16))
    result = validate_network(
        Red(), cache, cache.val, names={row: str(row) for row in (10, 11, 12)}, device=CPU,
        normalizer=PLAIN, batch_size=2, metrics=[metric(area)],
    )  # fmt: skip
    assert np.array_equal(result.scores.extra_columns["mine"], [4, math.nan, 1], equal_nan=True)


def test_metrics_of_the_file_are_computed_and_a_package_s_only_as_objective(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(components, "_COMPONENTS", {})

    def one(probability: Any, truth: Any, valid: Any) -> float:
        return 0.0

    components.metric("here", origin="parts.py")(one)
    components.metric("binary_only", origin="parts.py", tasks=("binary",))(one)
    components.metric("there", origin="package p")(one)

    def names(data: StudyDataConfig, metric: str) -> list[str]:
        return [part.name for part in study_metrics(data, ObjectiveConfig(metric=metric))]

    assert names(StudyDataConfig(), "val/dice") == ["here", "binary_only"]
    assert names(THREE, "val/dice") == ["here"]
    assert names(THREE, "val/there") == ["here", "there"]
