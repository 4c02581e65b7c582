"""The pruner `curve`, on made-up families of curves of which the right decision is known."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.config.study import BudgetConfig, PrunerConfig
from harness.search.pruning.curve_control import evaluate_control_arm
from harness.search.pruning.curve_model import PartialCurve, probability_below
from harness.search.pruning.learning_curve import SCARCE_HOURS, SCARCE_TRIALS, CurvePruner
from harness.search.pruning.pruner import build_pruner

EPOCHS = 16
DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "optim.schedule": CategoricalDistribution(["constant", "onecycle"]),
    "optim.lr": FloatDistribution(1e-5, 1.0, log=True),
}


def power(start: float, exponent: float, epochs: int = EPOCHS) -> list[float]:
    """A loss that falls as a power of the epoch."""
    return [start * epoch**-exponent for epoch in range(1, epochs + 1)]


def late(start: float, end: float) -> list[float]:
    """A loss that hardly moves in the first half, then falls steadily."""
    half = EPOCHS // 2
    flat = [start * 0.99**i for i in range(half)]
    return flat + [float(v) for v in np.geomspace(flat[-1], end, EPOCHS - half + 1)[1:]]


def trial_of(
    values: Sequence[float],
    state: TrialState = TrialState.COMPLETE,
    schedule: str = "constant",
    lr: float = 1e-3,
    maximised: bool = False,
) -> FrozenTrial:
    best = max(values) if maximised else min(values)
    return create_trial(
        state=state,
        value=best if state == TrialState.COMPLETE else None,
        params={"optim.schedule": schedule, "optim.lr": lr},
        distributions=DISTRIBUTIONS,
        intermediate_values=dict(enumerate(values)),
    )


def study_of(trials: Sequence[FrozenTrial], direction: str = "minimize") -> optuna.Study:
    study = optuna.create_study(storage=InMemoryStorage(), direction=direction)
    study.add_trials(trials)
    return study


def pruned(study: optuna.Study, pruner: CurvePruner | None = None) -> bool:
    """The verdict on the newest trial."""
    trial = study.get_trials(deepcopy=False)[-1]
    return (pruner or curve()).prune(study, trial)


def curve(budget: BudgetConfig | None = None, **options: Any) -> CurvePruner:
    built = build_pruner(PrunerConfig(name="curve", **options), EPOCHS, budget)
    assert isinstance(built, CurvePruner)
    return built


def running(values: Sequence[float], **options: Any) -> FrozenTrial:
    return trial_of(values, TrialState.RUNNING, **options)


FAMILY = [trial_of(power(start, 0.1)) for start in (0.5, 0.55, 0.6, 0.65, 0.7)]


def test_a_hopeless_trial_is_pruned_and_one_ahead_is_kept() -> None:
    """All fall alike, so after 3 epochs what is 1.6 times the best stays behind."""
    assert pruned(study_of([*FAMILY, running(power(0.8, 0.1)[:3])]))
    assert not pruned(study_of([*FAMILY, running(power(0.45, 0.1)[:3])]))


def test_one_that_has_beaten_the_best_is_kept_whatever_comes() -> None:
    values = [0.2, 0.9, 0.9, 0.9, 0.9]
    assert not pruned(study_of([*FAMILY, running(values)]), curve(chance=1.0))


def test_a_schedule_of_late_starters_is_learnt() -> None:
    """At epoch 6 both stand at the same loss; only those under onecycle still fall far."""
    early = [trial_of(late(s, s * 0.85)) for s in np.linspace(0.5, 0.8, 12)]
    starters = [trial_of(late(s, 0.4), schedule="onecycle") for s in np.linspace(0.7, 0.9, 12)]
    both = [one for pair in zip(early, starters, strict=True) for one in pair]
    now = late(0.7, 0.4)[:6]
    assert pruned(study_of([*both, running(now, schedule="constant")]))
    assert not pruned(study_of([*both, running(now, schedule="onecycle")]))


def test_partial_curves_teach_as_complete_ones_do() -> None:
    """Three complete trials that fell fast; 40 cut off at epoch 9 show that most do not."""
    fast = [trial_of(power(0.6, 0.4)) for _ in range(3)]
    slow = [trial_of(power(s, 0.02)[:9], TrialState.PRUNED) for s in np.linspace(0.6, 0.9, 40)]
    now = running(power(0.36, 0.02)[:3])
    assert not pruned(study_of([*fast, now]), curve(control=0))
    assert pruned(study_of([*slow, *fast, now]), curve(control=0))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_it_waits_while_it_knows_too_few_curves(n: int) -> None:
    assert not pruned(study_of([*FAMILY[:n], running([0.99, 0.99, 0.99])]), curve(control=0))


def test_it_waits_where_too_few_came_further_than_this_trial() -> None:
    """Complete trials of which nothing is known but their value, as after lost epoch logs."""
    bare = [create_trial(value=0.3, params={}, distributions={}) for _ in range(5)]
    assert not pruned(study_of([*bare, running([0.99, 0.99, 0.99])]))


def test_every_tenth_trial_is_never_pruned() -> None:
    ten = (FAMILY * 2)[:10]
    hopeless = running([0.99] * 8)
    assert not pruned(study_of([*ten, hopeless]))  # number 10
    assert pruned(study_of([*ten[:9], hopeless]))
    assert pruned(study_of([*ten, hopeless]), curve(control=0))


def test_control_arm_counts_what_it_would_have_stopped_and_what_wrongly() -> None:
    """Trials 0, 10 and 20 are the control: nothing to compare with, hopeless, a surprise."""
    surprise = [0.9] * 12 + [0.2] * 4
    trials = [*FAMILY, *FAMILY, trial_of([0.9] * EPOCHS), *FAMILY, *FAMILY[:4], trial_of(surprise)]
    control = evaluate_control_arm(curve(), study_of(trials).trials, maximised=False)
    assert (control.n, control.n_stopped, control.n_wrong) == (2, 2, 1)
    assert "of 2 trials never pruned it would have stopped 2, wrongly 1" in control.sentence


def test_a_score_is_pruned_as_its_loss_would_be() -> None:
    scores = [trial_of([1 - v for v in power(s, 0.1)], maximised=True) for s in (0.5, 0.6, 0.7)]
    worse = running([1 - v for v in power(0.9, 0.1)[:4]])
    better = running([1 - v for v in power(0.4, 0.1)[:4]])
    assert pruned(study_of([*scores, worse], "maximize"), curve(control=0))
    assert not pruned(study_of([*scores, better], "maximize"), curve(control=0))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("shift", [-50.0, 0.0, 50.0])
def test_metrics_of_any_sign_and_size_are_taken(direction: str, shift: float) -> None:
    sign = 1.0 if direction == "minimize" else -1.0
    trials = [
        trial_of([sign * 30 * v + shift for v in power(s, 0.1)], maximised=sign < 0)
        for s in (0.5, 0.55, 0.6, 0.65)
    ]
    bad = running([sign * 30 * 3.0 + shift] * 8)
    assert pruned(study_of([*trials, bad], direction), curve(control=0))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_decide_nothing(value: float) -> None:
    pruner = curve(control=0)
    assert not pruned(study_of([*FAMILY, running([value, value, value])]), pruner)
    with_gap = [*FAMILY, trial_of([0.6, value, 0.5], TrialState.PRUNED)]
    assert pruned(study_of([*with_gap, running([0.9, value, 0.9])]), pruner)
    assert not pruned(study_of([*with_gap, running([0.4, value, value])]), pruner)


def test_a_loss_of_zero_is_taken() -> None:
    perfect = [trial_of([0.5, 0.1, *[0.0] * 14]) for _ in range(4)]
    assert pruned(study_of([*perfect, running([0.9] * 10)]), curve(control=0))


def test_trials_of_other_lengths_are_compared_at_the_same_share() -> None:
    """Half-way: 4 of 8 epochs; the trials of 16 epochs fell by a third in their second half."""
    lengths = {"train.epochs": optuna.distributions.IntDistribution(4, 32)}

    def of(values: Sequence[float], planned: int, state: TrialState) -> FrozenTrial:
        return create_trial(
            state=state,
            value=min(values) if state == TrialState.COMPLETE else None,
            params={"train.epochs": planned},
            distributions=lengths,
            intermediate_values=dict(enumerate(values)),
        )

    long = [of(late(s, s * 0.6), 16, TrialState.COMPLETE) for s in (0.7, 0.75, 0.8, 0.85, 0.9)]
    promising, hopeless = [0.62] * 4, [0.99] * 7
    for values, expected in ((promising, False), (hopeless, True)):
        study = study_of([*long, of(values, 8, TrialState.RUNNING)])
        pruner = build_pruner(PrunerConfig(name="curve", control=0), 8)
        assert pruner.prune(study, study.trials[-1]) is expected


def test_scarce_hours_make_it_bolder() -> None:
    """A trial whose chance lies between both bounds is pruned only where hours are limited."""
    rng = np.random.default_rng(0)
    trials = [trial_of(power(s, float(rng.uniform(0, 0.3)))) for s in np.linspace(0.5, 0.8, 20)]
    hours = curve(BudgetConfig(gpu_hours=1.0), control=0)
    target = sorted(one.value or 1.0 for one in trials)[2]  # the best tenth of 21
    others = [PartialCurve(tuple(range(1, 17)), tuple(t.intermediate_values.values()), 16, t.params)
              for t in reversed(trials)]  # fmt: skip
    for start in np.linspace(0.25, 1.0, 200):
        values = power(float(start), 0.1)[:3]
        chance = probability_below(
            target, PartialCurve((1, 2, 3), tuple(values), 16, trials[0].params), others
        )
        if SCARCE_TRIALS.chance < chance < SCARCE_HOURS.chance:
            study = study_of([*trials, running(values)])
            assert not pruned(study, curve(control=0))
            assert pruned(study, hours)
            return
    pytest.fail("no start lies between the bounds")


def test_the_same_study_gives_the_same_verdicts_after_a_restart() -> None:
    rng = np.random.default_rng(1)
    trials = [
        trial_of(power(s, float(rng.uniform(0, 0.3))), lr=float(10 ** rng.uniform(-5, -1)))
        for s in rng.uniform(0.4, 0.9, 30)
    ]
    candidates = [running(power(s, 0.15)[:3]) for s in np.linspace(0.4, 1.0, 25)]
    first = curve(control=0)
    verdicts = [pruned(study_of([*trials, one]), first) for one in candidates]
    again = [pruned(study_of([*trials, one]), curve(control=0)) for one in reversed(candidates)]
    assert verdicts == again[::-1]
    assert len(set(verdicts)) == 2


def test_chance_is_calibrated_on_curves_that_it_can_describe() -> None:
    """Exponents are normal around 0.2: the target lies where 30 % of them end."""
    rng = np.random.default_rng(2)
    exponents = rng.normal(0.2, 0.06, 100)
    params = {"optim.lr": 1e-3}
    noise = [tuple(power(0.8, max(float(x), 0.0))) for x in exponents]
    # The first point tells nothing of the exponent: all begin alike.
    others = [PartialCurve(tuple(range(1, 17)), values, 16, params) for values in noise]
    target = float(np.quantile([values[-1] for values in noise], 0.3))
    chance = probability_below(target, PartialCurve((1,), (0.8,), 16, params), others)
    assert chance == pytest.approx(0.3, abs=0.07)


def test_a_decision_is_cheap_in_a_long_study() -> None:
    """The number of curves is limited; the bound leaves room for a loaded machine."""
    rng = np.random.default_rng(3)
    trials = [trial_of(power(s, 0.1, 20)) for s in rng.uniform(0.4, 0.9, 1000)]
    study = study_of([*trials, running(power(0.9, 0.1)[:3])])
    begun = time.process_time()
    pruned(study, curve(control=0))
    assert time.process_time() - begun < 1.0  # a quadratic way would take minutes
