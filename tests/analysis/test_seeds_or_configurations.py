from pathlib import Path

import numpy as np
import pytest

from analysis.seeds_or_configurations import compare, main, sentence
from tests.evaluation.confirm.test_load_confirmation import plan_of, spread
from tests.evaluation.confirming import a_search, begun, trained


def test_without_noise_fewer_configurations_are_worse() -> None:
    """Of 12 configurations worth 1 to 12, the best of all is 1, the best of 8 drawn ones
    (12 + 1) / (8 + 1) in the mean."""
    table = np.repeat(np.arange(1.0, 13.0)[:, None], 4, axis=1)
    many, few = compare(table, np.random.default_rng(1)).mean(axis=1)
    assert many == 1
    assert few == pytest.approx(13 / 9, abs=0.04)


def test_with_noise_alone_both_choices_are_worth_the_mean() -> None:
    """All 12 configurations are equal; the values that chose one do not judge it, so that the mean
    over 400 searches is 0, with a standard error of 0.05 at most."""
    rng = np.random.default_rng(2)
    searches = [compare(rng.normal(0, 1, (12, 4)), rng, n_draws=10) for _ in range(400)]
    assert np.abs(np.concatenate(searches, axis=1).mean(axis=1)).max() < 0.15


def test_much_noise_makes_seeds_worth_more_than_configurations() -> None:
    """Configurations differ by 0.01, seeds by 1: three values choose better than one."""
    rng = np.random.default_rng(4)
    quality = np.linspace(0, 1, 60)[:, None]
    many, few = compare(quality + rng.normal(0, 1, (60, 4)), rng).mean(axis=1)
    assert few < many


def test_higher_values_are_better_where_the_objective_is_maximised() -> None:
    values = [[float(k)] * 4 for k in range(12)]
    assert sentence(values, minimized=False).startswith("12 configurations once: 11.0000; 8 once ")
    assert sentence(values).startswith("12 configurations once: 0.0000; 8 once and 2 of them on 2 ")


def test_a_study_with_too_few_confirmed_configurations_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = a_search(tmp_path).paths
    plan = plan_of([1, 2], 3)
    begun(paths, plan)
    for number, loss in enumerate([0.28, 0.36, 0.30, 0.40, 0.32, 0.44]):
        trained(paths, plan, number, spread(loss))
    assert main(["--workspace", str(tmp_path), "--study", "tiny"]) == 2
    assert capsys.readouterr().err == (
        "tiny: needs six confirmed configurations with 3 seeds each, has 2; "
        "harness confirm --study tiny --top 12 --seeds 3\n"
    )
