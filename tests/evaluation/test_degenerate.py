"""Every statistic over every degenerate set: a value, None or a sentence; no exception, no warning.

Warnings are errors in all tests (pyproject.toml).
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.config.data import StudyDataConfig
from harness.core.paths import TrialPaths
from harness.evaluation.held_out.measure import ThresholdSearch, select_example_rows
from harness.evaluation.held_out.results import compute_results
from harness.evaluation.held_out.scores import CHOSEN_COLUMNS, EXTRA_COLUMNS, ClassPlane
from harness.evaluation.statistics.image_values import (
    compare_images,
    per_image_values,
    per_image_values_of_all,
    read_native_scores,
)
from harness.evaluation.statistics.intervals import mean_interval, two_level_interval
from harness.evaluation.statistics.paired_tests import smallest_p
from harness.evaluation.statistics.ranking import rank_configurations
from harness.evaluation.statistics.variance_components import estimate_mean, pool_variance
from harness.training.metrics.image_scores import (
    ImageScores,
    ScoreEntry,
    scores_from_entries,
    summarise_scores,
    write_scores,
)

DATA = StudyDataConfig(task="multilabel", classes=("a", "b", "c"))
METRICS = ("dice_loss", "dice", "iou", "precision", "dice_micro", "precision_micro", "miou", "own")


def scores(n: int, has: Callable[[int, int], bool], hit: Callable[[int, int], int]) -> ImageScores:
    """n images of 100 pixels and three classes; of the 20 pixels of a class `hit` are found."""
    entries: list[ScoreEntry] = []
    for row in range(n):
        for k in range(3):
            y, tp = (20, hit(row, k)) if has(row, k) else (0, 0)
            fp = hit(row, k) // 2
            sums = (float(tp), float(tp + fp), float(y))
            entries.append((row, f"i{row:03d}", k, *sums, tp, fp, y - tp, 80 - fp))
    more = {name: [math.nan] * len(entries) for name in ("own", *EXTRA_COLUMNS)}
    more |= {
        name: [0.0] * len(entries) for name in (*CHOSEN_COLUMNS, "objects", "dice_256", "iou_256")
    }
    return scores_from_entries(entries, more)


def every(_row: int, _k: int) -> bool:
    return True


def varied(row: int, k: int) -> int:
    return (7 * row + 3 * k) % 21


SETS = {
    "no image": scores(0, every, varied),
    "one image": scores(1, every, varied),
    "two images": scores(2, every, varied),
    "three images": scores(3, every, varied),
    "all empty": scores(60, lambda *_: False, varied),
    "all empty, nothing said": scores(60, lambda *_: False, lambda *_: 0),
    "all equal": scores(60, every, lambda *_: 11),
    "nothing found": scores(60, every, lambda *_: 0),
    "all found": scores(60, every, lambda *_: 20),
    "one class only": scores(60, lambda _, k: k == 0, varied),
    "a class nowhere": scores(60, lambda _, k: k < 2, varied),
    "a class in one image": scores(60, lambda row, k: k < 2 or row == 7, varied),
    "a class in two images": scores(60, lambda row, k: k < 2 or row < 2, varied),
    "every class in one image": scores(3, lambda row, k: row == k, varied),
    "one image differs": scores(60, every, lambda row, _: 19 if row else 3),
    "no pixel counts": replace(
        scores(60, lambda *_: False, lambda *_: 0), tn=np.zeros(180, np.int64)
    ),
    "a value in half of the images": replace(
        scores(60, every, varied),
        extra_columns=scores(60, every, varied).extra_columns
        | {"own": np.where(np.arange(180) % 2, np.nan, 0.5)},
    ),
}


@pytest.fixture(params=SETS)
def some(request: pytest.FixtureRequest) -> ImageScores:
    return SETS[request.param]


@pytest.mark.parametrize("metric", METRICS)
def test_values_are_finite_and_their_mean_is_the_metric(some: ImageScores, metric: str) -> None:
    values = per_image_values(some, metric)
    assert np.isfinite(values.to_numpy()).all()
    data = DATA.model_copy(update={"task": "multiclass"})
    expected = summarise_scores(some, data).get(f"val/{metric}") if some.has_truth.any() else None
    if metric == "own":
        counts = np.isfinite(some.extra_columns["own"])
        expected = 0.5 if counts.any() else None
    if expected is not None:
        assert values.mean() == pytest.approx(expected)


@pytest.mark.parametrize("metric", METRICS)
def test_intervals_hold_the_mean_or_are_none(some: ImageScores, metric: str) -> None:
    values = per_image_values(some, metric).to_numpy()
    found = mean_interval(values)
    assert (found is None) == (len(values) < 50)
    if found is not None:
        assert found.low - 1e-12 <= found.mean <= found.high + 1e-12
        assert np.isfinite([found.low, found.high]).all()


@pytest.mark.parametrize("metric", METRICS)
def test_paired_tests_have_a_p_from_the_least_to_1(some: ImageScores, metric: str) -> None:
    for other in SETS.values():
        found = compare_images(some, other, metric)
        assert smallest_p(found.n) - 1e-12 <= found.p <= 1
        assert math.isnan(found.difference) == (found.n == 0)
    same = compare_images(some, some, metric)
    assert same.p == 1 and (same.n == 0 or same.difference == 0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n_runs", [1, 3])
def test_decisions_of_equal_configurations_are_ties_or_refused_with_a_reason(
    some: ImageScores, metric: str, n_runs: int
) -> None:
    values = per_image_values_of_all([some] * 2 * n_runs, metric)
    frames = [
        pd.DataFrame({"image": each.index, "value": each.to_numpy()}).assign(
            configuration=f"c{k % 2}", run=k // 2
        )
        for k, each in enumerate(values)
    ]
    if values[0].empty:
        with pytest.raises(ValueError, match="at least one row"):
            rank_configurations(pd.concat(frames), minimized=True, costs={})
        return
    found = rank_configurations(pd.concat(frames), minimized=True, costs={}, resamples=50)
    assert found.winner is None and set(found.tied) == {"c0", "c1"}
    assert found.ranked[0].mean == pytest.approx(values[0].mean())
    enough = len(values[0]) >= 20
    assert enough or (found.needed_images is None and found.needed_seeds is None)
    assert ("below 20 images chance" in found.sentence) != enough
    alone = rank_configurations(frames[0], minimized=True, costs={}, resamples=50)
    assert alone.sentence.startswith("c0 is the only configuration")


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("n_runs", [1, 2, 3])
@pytest.mark.parametrize("n_images", [1, 2, 60])
@pytest.mark.parametrize("equal", [False, True])
def test_two_level_intervals_of_few_runs_and_images(
    folds: bool, n_runs: int, n_images: int, equal: bool
) -> None:
    rng = np.random.default_rng(0)
    runs = tuple(np.full(n_images, 0.3) if equal else rng.random(n_images) for _ in range(n_runs))
    found = estimate_mean(runs, runs, folds=folds, pooled_variance=pool_variance([runs]))
    assert found.value == 0 and (found.p == 1 or n_runs == 1)
    one = estimate_mean(runs, folds=folds)
    interval = two_level_interval(runs, one, folds=folds, resamples=50)
    assert (interval is None) == (n_runs == 1)
    if interval is not None:
        assert interval.low <= interval.mean <= interval.high
        assert np.isfinite([interval.low, interval.high]).all()
        assert not equal or interval.low == interval.high == pytest.approx(0.3)


def test_thresholds_without_an_image_that_has_the_class_are_a_half() -> None:
    search = ThresholdSearch([1, 2])
    empty = np.zeros(4, np.bool_)
    search.add(ClassPlane(1, np.full(4, 0.9, np.float32), empty, empty, 0))
    search.add(ClassPlane(1, np.zeros(0, np.float32), empty[:0], empty[:0], 0))
    assert search.best() == {1: 0.5, 2: 0.5}


def test_own_sizes_of_images_with_nothing_to_find_are_unknown(tmp_path: Path) -> None:
    trial = TrialPaths(tmp_path)
    trial.native_size_csv.parent.mkdir(parents=True)
    for some in ("no image", "all empty", "no pixel counts"):
        write_scores(trial.native_size_csv, replace(SETS[some], extra_columns={}))
        assert read_native_scores(trial) == {}


def test_results_of_a_look_are_values_in_their_intervals_or_nothing(some: ImageScores) -> None:
    for result in compute_results(some, DATA):
        assert (result.value is None) == (result.n == 0)
        if result.low is not None and result.high is not None and result.value is not None:
            assert result.n >= 50
            assert result.low - 1e-9 <= result.value <= result.high + 1e-9
    assert set(select_example_rows(some).values()) <= set(some.row.tolist())
