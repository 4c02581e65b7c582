import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.evaluation.statistics.decisions import smallest_configurations
from harness.evaluation.statistics.ranking import (
    ConfigurationCost,
    rank_configurations,
    search_optimism,
)
from tests.evaluation.simulated import frame, losses

COSTS = {f"c{k}": ConfigurationCost(1_000_000 * (5 - k), 10.0 + k) for k in range(5)}


def lossy(seed: int, means: list[float], n_runs: int = 3, **more: float) -> pd.DataFrame:
    return frame(losses(np.random.default_rng(seed), np.array(means), n_runs, **more))


def test_a_clear_lead_wins_and_the_winner_is_chosen_whatever_it_costs() -> None:
    found = rank_configurations(lossy(0, [0.05, 0.35, 0.25]), minimized=True, costs=COSTS)
    assert [row.configuration for row in found.ranked] == ["c0", "c2", "c1"]
    assert [row.verdict for row in found.ranked] == ["better", "worse", "worse"]
    assert (found.winner, found.tied, found.choice) == ("c0", ("c0",), "c0")
    assert found.sentence.startswith("c0 is better than every other configuration: ")
    assert "ahead of c2, the next (p = " in found.sentence


def test_equal_configurations_are_tied_and_the_smallest_is_chosen() -> None:
    found = rank_configurations(lossy(1, [0.15, 0.15, 0.15]), minimized=True, costs=COSTS)
    assert found.winner is None
    assert sorted(found.tied) == ["c0", "c1", "c2"] and found.choice == "c2"
    assert {row.verdict for row in found.ranked} == {"tied"}
    assert found.sentence.endswith("The smallest of the tied ones is c2 (3.00 M parameters).")


def test_of_tied_ones_of_one_size_the_best_mean_is_chosen_whatever_its_seconds() -> None:
    scores = lossy(1, [0.15] * 3)
    leader = rank_configurations(scores, minimized=True, costs={}).ranked[0].configuration
    slow = {
        f"c{k}": ConfigurationCost(2_350_000, 900.0 if f"c{k}" == leader else 1.0, 1.5)
        for k in range(3)
    }
    found = rank_configurations(scores, minimized=True, costs=slow)
    assert found.choice == leader and len(found.tied) == 3
    assert found.sentence.endswith(
        f"Among the tied ones, all have the same size, and {leader} (2.35 M parameters, "
        "1.5 GFLOPs) has the best mean of these."
    )
    turned = scores.assign(value=-scores["value"])
    assert rank_configurations(turned, minimized=False, costs=slow).choice == leader


def test_the_smallest_are_named_where_not_all_tied_ones_are_of_one_size() -> None:
    scores = lossy(1, [0.15] * 3)
    order = [
        row.configuration for row in rank_configurations(scores, minimized=True, costs={}).ranked
    ]
    costs = dict(
        zip(
            order,
            [ConfigurationCost(9, 1.0), ConfigurationCost(5, 9.0), ConfigurationCost(5, 1.0)],
            strict=True,
        )
    )
    found = rank_configurations(scores, minimized=True, costs=costs)
    assert found.choice == order[1]
    assert f"{order[1]} and {order[2]} are the smallest, and {order[1]} (0.00 M" in found.sentence


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        (
            {
                "a": ConfigurationCost(100, 1.0, 1.0),
                "b": ConfigurationCost(105, 2.0, 1.05),
                "c": ConfigurationCost(106, 0.1, 1.0),
            },
            "ab",
        ),
        (
            {
                "a": ConfigurationCost(105, 1.0, 2.0),
                "b": ConfigurationCost(100, 2.0, 3.0),
                "c": ConfigurationCost(103, 0.1, 2.1),
            },
            "ac",
        ),
        (
            {
                "a": ConfigurationCost(105, 1.0, 2.0),
                "b": ConfigurationCost(100, 2.0),
                "c": ConfigurationCost(103, 0.1, 2.1),
            },
            "abc",
        ),
        # 100 and 109 are not alike although 104.5 is within 5 % of both: the smallest decides
        (
            {
                "a": ConfigurationCost(1090, 1.0),
                "b": ConfigurationCost(1045, 2.0),
                "c": ConfigurationCost(1000, 0.1),
            },
            "bc",
        ),
        ({"b": ConfigurationCost(9, 9.0)}, "b"),
        ({}, "abc"),
    ],
)
def test_as_small_as_the_smallest_by_hand(
    costs: dict[str, ConfigurationCost], expected: str
) -> None:
    for names in permutations("abc"):
        assert sorted(smallest_configurations(names, costs)) == list(expected)


def test_too_few_images_to_rank_by_are_said_and_forecast_nothing() -> None:
    found = rank_configurations(lossy(7, [0.05, 0.45], n_images=19), minimized=True, costs={})
    assert "based on 19 validation images; below 20 images chance" in found.sentence
    assert (found.needed_seeds, found.needed_images, found.seeds_for(0.1)) == (None, None, None)
    enough = rank_configurations(lossy(7, [0.15, 0.15], n_images=20), minimized=True, costs={})
    assert "based on" not in enough.sentence and enough.needed_images is not None


def test_what_rounding_leaves_of_equal_means_is_no_lead() -> None:
    """0.1 + 0.2 + 0.3 in another order: the means differ by 1e-17, and the runs not at all."""
    one = np.array([[0.1, 0.2, 0.3]] * 3)
    found = rank_configurations(frame(np.stack([one, one[:, ::-1]])), minimized=True, costs={})
    assert found.winner is None and found.tied == ("c0", "c1")


def test_two_that_lead_together_leave_the_third_behind() -> None:
    found = rank_configurations(lossy(2, [0.10, 0.10, 0.30]), minimized=True, costs=COSTS)
    assert found.winner is None and sorted(found.tied) == ["c0", "c1"]
    assert found.ranked[2].verdict == "worse"
    assert f"worse than {found.ranked[0].configuration}: c2" in found.sentence


def test_maximised_metrics_rank_the_other_way() -> None:
    scores = lossy(0, [0.05, 0.25, 0.24])
    turned = scores.assign(value=1 - scores["value"])
    low, high = (
        rank_configurations(each, minimized=minimized, costs=COSTS)
        for each, minimized in ((scores, True), (turned, False))
    )
    assert [r.configuration for r in low.ranked] == [r.configuration for r in high.ranked]
    assert [r.verdict for r in low.ranked] == [r.verdict for r in high.ranked]
    assert low.ranked[0].mean == pytest.approx(1 - high.ranked[0].mean)


def test_without_image_effects_the_test_is_welchs_on_run_means() -> None:
    """Constant images: only seeds differ, and the p of the sentence is scipy's."""
    means = np.array([[0.100, 0.110, 0.130], [0.150, 0.170, 0.160]])
    scores = frame(np.repeat(means[:, :, None], 60, axis=2))
    found = rank_configurations(scores, minimized=True, costs={})
    welch = stats.ttest_ind(means[0], means[1], equal_var=False)
    assert found.winner == "c0" and f"(p = {welch.pvalue:.2g}," in found.sentence
    assert found.ranked[0].sd_runs == pytest.approx(np.std(means[0], ddof=1))


def test_folds_are_compared_within_folds_with_the_corrected_t() -> None:
    """Folds differ by 20 points, configurations by 2 within each: Nadeau and Bengio's p."""
    fold = np.array([0.1, 0.3, 0.2, 0.15, 0.25])
    means = np.array([fold, np.add(fold, [0.020, 0.023, 0.017, 0.021, 0.019])])
    found = rank_configurations(
        frame(np.repeat(means[:, :, None], 20, axis=2), folds=True), minimized=True, costs={}
    )
    each = means[1] - means[0]
    t = each.mean() / math.sqrt(each.var(ddof=1) * (1 / 5 + 1 / 4))
    p = 2 * stats.t.sf(t, 4)
    assert found.winner == "c0" and f"(p = {p:.2g}, two-sided, folds" in found.sentence
    assert found.needed_seeds is None
    assert found.ranked[0].interval is not None and found.ranked[0].interval.n == 100


def test_folds_of_different_sizes_weigh_alike() -> None:
    rows = [("a", 0, f"x{k}", 0.1) for k in range(30)] + [("a", 1, f"y{k}", 0.3) for k in range(60)]
    rows += [("b", run, image, value + 0.1) for _, run, image, value in rows]
    scores = pd.DataFrame(rows, columns=["configuration", "run", "image", "value"])
    found = rank_configurations(scores, minimized=True, costs={})
    assert [row.mean for row in found.ranked] == pytest.approx([0.2, 0.3])


def test_a_fold_that_one_configuration_lacks_counts_for_none() -> None:
    scores = frame(np.random.default_rng(0).random((2, 4, 30)), folds=True)
    less = scores[(scores["configuration"] != "c1") | (scores["run"] != 3)]
    shorter = scores[scores["run"] != 3]
    assert rank_configurations(less, minimized=True, costs={}) == rank_configurations(
        shorter, minimized=True, costs={}
    )


def test_one_run_each_says_nothing() -> None:
    found = rank_configurations(lossy(3, [0.05, 0.50], n_runs=1), minimized=True, costs=COSTS)
    assert found.winner is None and found.tied == ("c0", "c1")
    assert all(row.sd_runs is None and row.interval is None for row in found.ranked)
    assert found.needed_seeds is None and found.sd_runs is None
    assert "as each has only one seed" in found.sentence


def test_a_configuration_with_one_run_is_never_excluded() -> None:
    scores = lossy(4, [0.05, 0.50, 0.50])
    found = rank_configurations(
        scores[(scores["configuration"] != "c2") | (scores["run"] == 0)], minimized=True, costs={}
    )
    assert {row.configuration: row.verdict for row in found.ranked} == {
        "c0": "tied", "c1": "worse", "c2": "tied"
    }  # fmt: skip


def test_one_configuration_alone_has_nothing_to_beat() -> None:
    found = rank_configurations(lossy(5, [0.1]), minimized=True, costs=COSTS)
    assert found.winner is None and found.tied == ("c0",) and found.choice == "c0"
    assert found.sentence == "c0 is the only configuration, so there is no comparison."


def test_images_without_a_value_count_for_nobody() -> None:
    scores = lossy(6, [0.1, 0.2])
    holed = scores.copy()
    holed.loc[(holed["image"] == "i00007") & (holed["run"] == 1), "value"] = np.nan
    without = scores[scores["image"] != "i00007"]
    assert rank_configurations(holed, minimized=True, costs={}) == rank_configurations(
        without, minimized=True, costs={}
    )


def test_runs_that_agree_to_the_last_digit_are_no_division_by_zero() -> None:
    equal = np.full((3, 3, 60), 0.25)
    assert rank_configurations(frame(equal), minimized=True, costs={}).tied == ("c0", "c1", "c2")
    equal[1] -= 0.125
    assert rank_configurations(frame(equal), minimized=True, costs={}).winner == "c1"


def test_too_few_images_have_no_interval_but_a_verdict() -> None:
    found = rank_configurations(lossy(7, [0.05, 0.45], n_images=30), minimized=True, costs={})
    assert found.winner == "c0" and found.ranked[0].interval is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.drop(columns="run"), "must have the columns configuration, run, image, value"),
        (lambda s: s.head(0), "at least one row"),
        (lambda s: pd.concat([s, s.head(1)]), "image i00000 occurs twice in run 0 of c0"),
        (
            lambda s: s[(s["run"] > 0) | (s["image"] > "i00050")],
            "these runs share only some of their images",
        ),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        rank_configurations(change(lossy(8, [0.1, 0.2])), minimized=True, costs={})


def test_optimism_is_positive_where_the_search_promised_more() -> None:
    assert search_optimism(0.10, 0.12, minimized=True) == pytest.approx(0.02)
    assert search_optimism(0.90, 0.88, minimized=False) == pytest.approx(0.02)
    assert search_optimism(0.10, 0.09, minimized=True) == pytest.approx(-0.01)
