import gc
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.evaluation.statistics.intervals import mean_interval
from harness.evaluation.statistics.paired_tests import holm_correction, paired_test, smallest_p


def test_few_pairs_are_tested_exactly() -> None:
    """All 2^6 signs by hand: |mean| at least as large as seen."""
    a = np.array([0.9, 0.8, 0.7, 0.85, 0.6, 0.75])
    b = np.array([0.8, 0.81, 0.5, 0.75, 0.55, 0.6])
    differences = a - b
    means = [np.mean(differences * signs) for signs in product([-1, 1], repeat=6)]
    exact = np.mean(np.abs(means) >= abs(differences.mean()) - 1e-12)
    found = paired_test(a, b)
    assert found.p == pytest.approx(exact)
    assert found.difference == pytest.approx(differences.mean())
    assert found.interval is None and found.n == 6


def test_many_pairs_agree_with_the_t_test() -> None:
    """With 200 differences that are nearly normal the two p-values are close."""
    rng = np.random.default_rng(1)
    b = rng.beta(8, 2, 200)
    a = b + rng.normal(0.006, 0.04, 200)
    found = paired_test(a, b)
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.012)
    assert found.interval == mean_interval(a - b)


def test_mean_is_tested_and_not_the_median() -> None:
    """Nearly every image is a little better, a few are much worse: the means are equal."""
    differences = np.concatenate([np.full(90, 0.01), np.full(10, -0.09)])
    b = np.full(100, 0.5)
    assert stats.wilcoxon(differences).pvalue < 1e-6
    assert paired_test(b + differences, b).p > 0.9


def test_images_without_a_value_in_either_are_left_out() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random(60), rng.random(60)
    with_gaps = np.append(a, [np.nan, 0.5]), np.append(b, [0.5, np.nan])
    assert paired_test(*with_gaps) == paired_test(a, b)


def test_equal_weights_differ_in_nothing() -> None:
    values = np.random.default_rng(0).random(70)
    found = paired_test(values, values)
    assert (found.difference, found.p, found.n) == (0.0, 1.0, 70)


@pytest.mark.parametrize(("n", "p"), [(1, 1.0), (2, 0.5), (3, 0.25), (6, 2 / 64), (13, 2 / 8192)])
def test_least_p_of_few_pairs_is_that_of_both_extreme_signs(n: int, p: float) -> None:
    """All differences of one sign: of the 2^n signs two are as extreme."""
    assert smallest_p(n) == p
    assert paired_test(np.linspace(0.5, 0.9, n), np.zeros(n)).p == pytest.approx(p)


@pytest.mark.parametrize("n", [14, 60])
def test_least_p_of_many_pairs_is_that_of_the_draws(n: int) -> None:
    """No drawn sign is as extreme: (0 + 1) / (9999 + 1), twice."""
    found = paired_test(np.linspace(0.5, 0.9, n) + 5, np.zeros(n)).p
    assert smallest_p(n) == 2 / 10_000 <= found <= 8 / 10_000


def test_one_pair_says_nothing() -> None:
    """Both signs are as likely."""
    found = paired_test(np.array([0.5, np.nan]), np.array([0.4, 0.2]))
    assert (found.difference, found.interval, found.p, found.n) == (pytest.approx(0.1), None, 1, 1)


def test_no_image_in_common_says_nothing() -> None:
    found = paired_test(np.array([np.nan]), np.array([0.5]))
    assert np.isnan(found.difference)
    assert (found.interval, found.p, found.n) == (None, 1.0, 0)


def test_values_that_are_not_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="paired values must match"):
        paired_test(np.zeros(3), np.zeros(4))


def test_order_of_the_two_turns_the_sign_only() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.random(80), rng.random(80)
    there, back = paired_test(a, b), paired_test(b, a)
    assert there.difference == pytest.approx(-back.difference)
    assert there.p == pytest.approx(back.p)


def test_holm_by_hand() -> None:
    """0.01 × 4, 0.02 × 3, 0.03 × 2 (as large as the one before), 0.4 × 1."""
    assert holm_correction([0.03, 0.01, 0.4, 0.02]) == pytest.approx([0.06, 0.04, 0.4, 0.06])
    assert holm_correction([]) == []
    assert holm_correction([0.7, 0.6]) == [1.0, 1.0]


def test_holm_is_that_of_statsmodels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "collect", lambda: 0)  # multipletests collects garbage at every call
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.random(rng.integers(1, 12)) ** 3
        assert holm_correction(list(p)) == pytest.approx(multipletests(p, method="holm")[1])
