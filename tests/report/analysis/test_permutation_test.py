import json
import math
from typing import Any

import numpy as np
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from harness.core.records import TrialRecord
from harness.report.analysis.permutation_test import average_ranks, find_decisive_parameters

SPACE: dict[str, BaseDistribution] = {
    "optim.name": CategoricalDistribution(["sgd", "adamw"]),
    "optim.lr": FloatDistribution(1e-5, 1e-2, log=True),
    "model.encoder_depth": IntDistribution(3, 5),
}
SHAPES = {key: json.loads(distribution_to_json(value)) for key, value in SPACE.items()}
NOISE = 0.02


def drawn(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "optim.name": str(rng.choice(["sgd", "adamw"])),
        "optim.lr": float(10 ** rng.uniform(-5, -2)),
        "model.encoder_depth": int(rng.integers(3, 6)),
    }


def ranked(params: list[dict[str, Any]], values: list[float]) -> list[TrialRecord]:
    order = sorted(range(len(values)), key=values.__getitem__)
    return [
        TrialRecord(
            study="s",
            number=i,
            state="complete",
            params=params[i],
            distributions={key: SHAPES[key] for key in params[i]},
            epochs=1,
            seed=i,
            value=values[i],
        )
        for i in order
    ]


def study(seed: int, effect: float, n: int = 40) -> list[TrialRecord]:
    rng = np.random.default_rng(seed)
    params = [drawn(rng) for _ in range(n)]
    values = [
        0.3 + effect * (each["optim.name"] == "sgd") + float(rng.normal(0, NOISE))
        for each in params
    ]
    return ranked(params, values)


def names(seed: int, effect: float) -> list[str]:
    return [
        one.key for one in find_decisive_parameters(study(seed, effect), list(SPACE)).parameters
    ]


def test_where_nothing_matters_hardly_a_study_names_a_parameter() -> None:
    """2 % are meant; more than 8 of 100 would have a chance of 1 in 10,000."""
    assert sum(bool(names(seed, 0.0)) for seed in range(100)) <= 8


@pytest.mark.parametrize("effect", [2 * NOISE, 15 * NOISE])
def test_what_matters_is_named_and_hardly_ever_another_beside_it(effect: float) -> None:
    found = [names(seed, effect) for seed in range(100)]
    assert sum("optim.name" in each for each in found) >= 95
    assert sum(len(each) > 1 for each in found) <= 8


def test_the_explained_share_is_that_of_the_ranks() -> None:
    """Ranks 0 1 2 3 | 4 5 6 7 in two groups: between 2·4·2² = 32 of 8·63/12 = 42 in all."""
    params = [{"optim.name": "sgd" if i < 4 else "adamw"} for i in range(8)]
    tests = find_decisive_parameters(
        ranked(params, [float(i) for i in range(8)]), ["optim.name"], level=0.05
    )
    assert tests.parameters[0].explained == pytest.approx(32 / 42)
    assert tests.parameters[0].shuffled < 32 / 42


def test_a_copy_of_what_matters_explains_nothing_beside_it() -> None:
    rng = np.random.default_rng(0)
    params = [drawn(rng) for _ in range(40)]
    for each in params:  # an adaptive sampler ties parameters together so
        each["model.encoder_depth"] = 3 if each["optim.name"] == "sgd" else 5
    values = [(each["optim.name"] == "sgd") + float(rng.normal(0, NOISE)) for each in params]
    assert len(find_decisive_parameters(ranked(params, values), list(SPACE)).parameters) == 1


def test_a_conditional_parameter_is_judged_by_the_trials_that_have_it() -> None:
    """The rate is in force under sgd, which is far worse, and decides nothing there."""
    rng = np.random.default_rng(1)
    params = [drawn(rng) for _ in range(60)]
    values = [(each["optim.name"] == "sgd") + float(rng.normal(0, NOISE)) for each in params]
    for each in params:
        if each["optim.name"] == "adamw":
            del each["optim.lr"]
    assert [
        one.key for one in find_decisive_parameters(ranked(params, values), list(SPACE)).parameters
    ] == ["optim.name"]
    values = [
        v + 0.1 * math.log10(e["optim.lr"]) if "optim.lr" in e else v
        for v, e in zip(values, params, strict=True)
    ]
    found = find_decisive_parameters(ranked(params, values), list(SPACE)).parameters
    assert {one.key for one in found} == {"optim.name", "optim.lr"}


def test_too_few_trials_for_a_parameter_test_nothing() -> None:
    params = [{"optim.name": "sgd"}, {"optim.name": "adamw"}]
    assert find_decisive_parameters(ranked(params, [0.1, 0.2]), ["optim.name"]).shuffled is None


@pytest.mark.parametrize("n_better", [0, 1, 3])
def test_the_order_of_equal_values_explains_nothing(n_better: int) -> None:
    """All trials but a few have one value, and the rate grows with their numbers."""
    params = [{"optim.lr": 1e-5 * 1.2**number} for number in range(30)]
    values = [0.4 if number % 10 == 5 and number < 10 * n_better else 0.9 for number in range(30)]
    assert find_decisive_parameters(ranked(params, values), ["optim.lr"]).parameters == ()


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    """Values 1, 2, 2, 3: ranks 0, 1.5, 1.5, 3."""
    records = ranked([{"optim.lr": 1e-3}] * 4, [2.0, 1.0, 3.0, 2.0])
    assert average_ranks(records).tolist() == [0.0, 1.5, 1.5, 3.0]
