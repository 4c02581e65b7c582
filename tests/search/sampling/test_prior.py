"""Draws near good configurations of earlier studies, as far as the study's own trials agree."""

import math
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from harness.config.imports import PriorConfig
from harness.search.sampling.prior import FADE_TRIALS, PriorGuide, fit_row
from harness.space.reading.load_space import space_from_dict
from harness.space.space import AllowedValues, SearchSpace

ARCHS = ["Unet", "Linknet", "FPN"]
SPACE = {
    "parameters": {
        "model.arch": {"choices": ARCHS},
        "optim.lr": {"low": 1e-5, "high": 1e-1, "log": True},
    }
}
GOOD = {"model.arch": "Unet", "optim.lr": 1e-3}


def read(space: dict[str, Any] = SPACE) -> SearchSpace:
    return space_from_dict(space, source="space", legal=AllowedValues())


def guide(*rows: dict[str, Any], first: int = 0) -> PriorGuide:
    return PriorGuide(read(), [PriorConfig(study="old", first=first, rows=rows)])


def study_of(trials: list[tuple[str, float, float]]) -> optuna.Study:
    """A study that is minimised, with complete trials of architecture, rate and value."""
    study = optuna.create_study(direction="minimize")
    distributions = {
        "model.arch": CategoricalDistribution(ARCHS),
        "optim.lr": FloatDistribution(1e-5, 1e-1, log=True),
    }
    for arch, rate, value in trials:
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                value=value,
                params={"model.arch": arch, "optim.lr": rate},
                distributions=distributions,
                intermediate_values={0: value},
            )
        )
    return study


def proposals(prior: PriorGuide, study: optuna.Study, n: int = 200) -> list[dict[str, Any]]:
    """Proposals for the next trial with other random numbers."""
    number = len(study.trials)
    return [prior.propose(study, number, 1, np.random.default_rng(seed)) for seed in range(n)]


def share(prior: PriorGuide, study: optuna.Study) -> float:
    return float(np.mean([bool(proposed) for proposed in proposals(prior, study)]))


# Near GOOD is good, far from it is bad, and the other way round.
AGREEING = [("Unet", 1e-3, 0.1), ("Unet", 3e-3, 0.2), ("Unet", 1e-1, 0.5), ("FPN", 1e-1, 0.8)]
OPPOSED = [(arch, rate, 1 - value) for arch, rate, value in AGREEING]


def test_first_trials_alternate_between_the_portfolio_and_own_draws() -> None:
    other = {"model.arch": "FPN", "optim.lr": 1e-2}
    prior = guide(GOOD, other, first=2)
    rng = np.random.default_rng(0)
    drawn = [prior.propose(study_of([("Unet", 1e-4, 0.5)] * n), n, 0, rng) for n in range(6)]
    assert drawn == [GOOD, {}, other, {}, {}, {}]


def test_portfolio_ends_once_an_own_draw_is_better() -> None:
    other = {"model.arch": "FPN", "optim.lr": 1e-2}
    prior = guide(GOOD, other, first=2)
    rng = np.random.default_rng(0)
    ahead = study_of([("Unet", 1e-3, 0.2), ("Linknet", 1e-4, 0.5)])
    behind = study_of([("Unet", 1e-3, 0.5), ("Linknet", 1e-4, 0.2)])
    assert prior.propose(ahead, 2, 0, rng) == other
    assert prior.propose(behind, 2, 0, rng) == {}


def test_portfolio_prefers_what_differs() -> None:
    near = {"model.arch": "Unet", "optim.lr": 1.1e-3}
    far = {"model.arch": "Linknet", "optim.lr": 1e-2}
    assert guide(GOOD, near, far, first=2)._portfolio == [GOOD, far]


def test_own_trials_that_agree_call_for_more_of_the_prior() -> None:
    """With a rank correlation of 1 the probability is what fading leaves of 1."""
    expected = FADE_TRIALS / (FADE_TRIALS + len(AGREEING))
    assert share(guide(GOOD), study_of(AGREEING)) == pytest.approx(expected, abs=0.1)


def test_wrong_prior_is_given_up() -> None:
    assert share(guide(GOOD), study_of(OPPOSED)) == 0


def test_prior_fades_as_own_trials_come_in() -> None:
    few, many = study_of(AGREEING), study_of(AGREEING * 10)
    assert share(guide(GOOD), many) < 0.5 * share(guide(GOOD), few)


def test_rows_that_somebody_edited_are_fitted_to_the_space() -> None:
    edited = {"model.arch": "Nonsense", "optim.lr": 5.0, "no.such": 1}
    prior = guide(edited, {"no.such": 1}, first=2)
    rng = np.random.default_rng(0)
    assert prior.propose(study_of([]), 0, 0, rng) == {"optim.lr": pytest.approx(0.1)}
    assert len(prior._portfolio) == 1


def test_three_trials_say_nothing() -> None:
    assert share(guide(GOOD), study_of(AGREEING[:3])) == 0


def test_draws_stay_near_the_configuration_and_inside_the_space() -> None:
    drawn = [row for row in proposals(guide(GOOD), study_of(AGREEING)) if row]
    kept = np.mean([row["model.arch"] == "Unet" for row in drawn])
    decades = [math.log10(row["optim.lr"]) for row in drawn]
    assert 0.75 < kept < 0.98  # 0.8 are kept, and a third of the others are drawn again
    assert min(decades) >= -5 and max(decades) <= -1
    assert np.std(decades) == pytest.approx(0.4, abs=0.15)  # a tenth of four decades


def with_pruned(study: optuna.Study, values: dict[int, float]) -> optuna.Study:
    """Add two trials far from GOOD that the pruner has stopped."""
    for arch in ("FPN", "Linknet"):
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED,
                params={"model.arch": arch, "optim.lr": 1e-1},
                distributions=study.trials[0].distributions,
                intermediate_values=values,
            )
        )
    return study


def test_trials_that_reported_nothing_are_not_judged() -> None:
    assert share(guide(GOOD), with_pruned(study_of(AGREEING[:2]), {})) == 0


def test_stopped_trials_count_as_worse_than_those_that_went_further() -> None:
    """Whatever their values, which are of other epochs."""
    study = study_of([])
    distributions = study_of(AGREEING).trials[0].distributions
    for rate in (1e-3, 2e-3):
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                value=0.5,
                params={"model.arch": "Unet", "optim.lr": rate},
                distributions=distributions,
                intermediate_values={0: 0.6, 1: 0.5},
            )
        )
    assert share(guide(GOOD), with_pruned(study, {0: 0.1})) > 0.4


def test_rows_are_fitted_to_another_space() -> None:
    space = read(
        {
            "parameters": {
                "model.arch": {"choices": ["FPN", "Linknet"]},  # no Unet
                "model.encoder_depth": {"low": 4, "high": 5},
                "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True},
                "loss.dice": {"low": 0.0, "high": 1.0, "step": 0.25},
                "loss.jaccard": {"low": 0.1, "high": 0.9, "when": {"model.arch": "FPN"}},
            }
        }
    )
    config = {
        "model.arch": "Unet",
        "model.encoder_depth": 3,
        "optim.lr": 0.5,
        "loss.dice": 0.4,
        "loss.jaccard": 0.7,
        "train.epochs": 7,
    }
    assert fit_row(space, config) == {
        "model.encoder_depth": 4,
        "optim.lr": pytest.approx(1e-2),
        "loss.dice": 0.5,
    }
    assert fit_row(space, {"optim.lr": 0.0}) == {"optim.lr": pytest.approx(1e-4)}
    assert fit_row(space, {"optim.lr": True, "loss.dice": None}) == {}
