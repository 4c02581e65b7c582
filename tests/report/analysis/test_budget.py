import itertools
import math

import numpy as np
import pytest

from harness.report.analysis.budget import MIN_GROUP, compare_at_equal_budget, expected_best
from harness.report.tables.study_tables import load_study_tables
from tests.report.studies import Builder


def test_expected_best_by_hand() -> None:
    """Of 1, 2, 4 the pairs have minima 1, 1, 2 and maxima 2, 4, 4."""
    assert expected_best([4, 1, 2], 1, minimized=True) == pytest.approx(7 / 3)
    assert expected_best([4, 1, 2], 2, minimized=True) == pytest.approx(4 / 3)
    assert expected_best([4, 1, 2], 2, minimized=False) == pytest.approx(10 / 3)
    assert expected_best([4, 1, 2], 3, minimized=True) == 1


@pytest.mark.parametrize("minimized", [True, False])
def test_expected_best_is_the_mean_over_all_sets(minimized: bool) -> None:
    values = np.random.default_rng(1).normal(size=9).tolist()
    best = min if minimized else max
    for n in range(1, 10):
        every = [best(some) for some in itertools.combinations(values, n)]
        mean = math.fsum(every) / len(every)
        assert expected_best(values, n, minimized=minimized) == pytest.approx(mean)


def test_expected_best_of_thousands_is_finite() -> None:
    """Of 0 … N - 1 the expected smallest of n is (N - n) / (n + 1): David & Nagaraja 2003, 3.7."""
    values = np.arange(5000.0).tolist()
    assert expected_best(values, 100, minimized=True) == pytest.approx(4900 / 101)


@pytest.mark.parametrize("n", [0, 4])
def test_expected_best_needs_a_set_that_exists(n: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 3"):
        expected_best([1, 2, 3], n, minimized=True)


def encoders(study: Builder, losses: dict[str, list[float]], pruned: tuple[int, ...] = ()) -> None:
    every = [(name, loss) for name, some in losses.items() for loss in some]
    for number, (name, loss) in enumerate(every):
        state = "pruned" if number in pruned else "complete"
        study.trial(number, [loss], {"model.encoder_name": name}, state=state)


def test_groups_meet_at_the_size_of_the_smallest(study: Builder) -> None:
    """resnet18 has the best trial, by luck of five; at three trials each it is behind."""
    encoders(study, {"resnet18": [0.1, 0.8, 0.8, 0.8, 0.8], "mobilenet_v2": [0.2, 0.2, 0.3]})
    found = compare_at_equal_budget(load_study_tables(study.paths), "model.encoder_name")
    assert [curve.group for curve in found.curves] == ["mobilenet_v2", "resnet18"]
    assert found.budget == 3
    first, second = found.curves
    assert first.expected == pytest.approx((0.7 / 3, 0.2, 0.2))
    assert second.expected[-1] == pytest.approx((6 * 0.1 + 4 * 0.8) / 10)
    for curve in found.curves:
        assert all(np.array(curve.low) <= curve.high) and curve.low[0] < curve.high[0]
    assert "expected best of 3 trials is 0.2000" in found.sentence


def test_a_pruned_trial_counts_with_what_it_had_reached(study: Builder) -> None:
    encoders(study, {"resnet18": [0.3, 0.4, 0.6], "mobilenet_v2": [0.3, 0.4, 0.5]}, pruned=(2,))
    found = compare_at_equal_budget(load_study_tables(study.paths), "model.encoder_name")
    curve = next(one for one in found.curves if one.group == "resnet18")
    assert (curve.n_complete, curve.n_pruned) == (2, 1)
    assert curve.expected[0] == pytest.approx(1.3 / 3)


def test_groups_that_are_too_small_are_named(study: Builder) -> None:
    encoders(study, {"resnet18": [0.3, 0.4, 0.6], "mobilenet_v2": [0.1, 0.1]})
    found = compare_at_equal_budget(load_study_tables(study.paths), "model.encoder_name")
    assert found.small_groups == (("mobilenet_v2", 2),) and found.budget == 3
    assert found.sentence == (
        f"model.encoder_name: a comparison needs two values with {MIN_GROUP} complete or pruned "
        "trials each."
    )


def test_a_maximised_objective_ranks_the_other_way(study: Builder) -> None:
    other = Builder(study.root, "up", config={"objective": {"metric": "val/dice"}})
    other_values = {"resnet18": [0.9, 0.8, 0.7], "mobilenet_v2": [0.5, 0.6, 0.7]}
    encoders(other, other_values)
    found = compare_at_equal_budget(load_study_tables(other.paths), "model.encoder_name")
    assert [curve.group for curve in found.curves] == ["resnet18", "mobilenet_v2"]
    assert found.curves[0].expected[-1] == 0.9
