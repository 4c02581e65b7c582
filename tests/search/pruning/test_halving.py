from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import TrialState

from harness.config.study import PrunerConfig
from harness.core.paths import StudyPaths
from harness.search.pruning.factory import build_pruner
from harness.search.pruning.halving import HalvingPruner
from harness.search.run.trial_store import TrialStore

Curves = Sequence[Sequence[float]]


def study_of(curves: Curves, direction: str = "minimize") -> optuna.Study:
    """A study of trials that have come as far as their curves, and have no notes in a database."""
    study = optuna.create_study(direction=direction)
    for curve in curves:
        trial = study.ask()
        for step, value in enumerate(curve):
            trial.report(value, step)
    return study


def is_pruned(pruner: HalvingPruner, *curves: Sequence[float], direction: str = "minimize") -> bool:
    """Whether the last of these is pruned now."""
    study = study_of(curves, direction)
    return pruner.prune(study, study.trials[-1])


def falling_curves(n: int, epochs: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.flip(np.sort(rng.uniform(0, 1, (n, epochs)), axis=1), axis=1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("first", "factor"), [(1, 2), (1, 3), (2, 3), (3, 4)])
def test_falling_curves_are_cut_where_optuna_s_own_cuts_them(
    first: int, factor: int, seed: int
) -> None:
    """Optuna's judges at step 1, 3, 9 from 0; told epoch for step, it judges at our epochs."""
    curves = falling_curves(24, 12, seed)
    stock = SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)
    ours = cut_epochs(curves, HalvingPruner(first, factor), shift=-1)
    theirs = cut_epochs(curves, stock, shift=0)
    assert ours == theirs and 3 < len(ours) < 24


def cut_epochs(
    curves: np.ndarray, pruner: optuna.pruners.BasePruner, *, shift: int
) -> dict[int, int]:
    """The epoch at which each pruned trial was pruned, by its number."""
    study = optuna.create_study(pruner=pruner)
    cut: dict[int, int] = {}
    for curve in curves.tolist():
        trial = study.ask()
        for epoch, value in enumerate(curve, start=1):
            trial.report(value, epoch + shift)
            if trial.should_prune():
                cut[trial.number] = epoch
                break
        state = TrialState.PRUNED if trial.number in cut else TrialState.COMPLETE
        study.tell(trial, curve[-1] if state == TrialState.COMPLETE else None, state=state)
    return cut


def test_of_fewer_than_the_factor_only_the_best_goes_on() -> None:
    pruner = HalvingPruner(1, 3)
    assert not is_pruned(pruner, [0.5])
    assert is_pruned(pruner, [0.5], [0.6])
    assert not is_pruned(pruner, [0.5], [0.4])
    assert not is_pruned(pruner, [0.5], [0.5]), "as good as the best"


def test_only_the_rungs_are_judged() -> None:
    bad = [0.9] * 10
    good = [0.1] * 10
    at = [n for n in range(1, 10) if is_pruned(HalvingPruner(2, 3), good, bad[:n])]
    assert at == [2, 6]


def test_the_best_value_so_far_counts() -> None:
    assert not is_pruned(HalvingPruner(2, 3), [0.5, 0.5], [0.4, 0.9])
    assert is_pruned(HalvingPruner(2, 3), [0.3, 0.9], [0.4, 0.4])


def test_of_scores_the_largest_are_best() -> None:
    assert is_pruned(HalvingPruner(1, 3), [0.5], [0.4], direction="maximize")
    assert not is_pruned(HalvingPruner(1, 3), [0.5], [0.6], direction="maximize")


def test_asked_again_it_says_the_same() -> None:
    """A trial that was killed before the answer reached it is continued, and judged once more."""
    study = study_of([[0.1] * 3, [0.9] * 2])
    pruner = HalvingPruner(2, 3)
    assert [pruner.prune(study, study.trials[1]) for _ in range(3)] == [True] * 3


@pytest.mark.parametrize(("epochs", "first"), [(2, 2), (16, 2), (17, 3), (100, 13)])
def test_default_judges_first_after_an_eighth_of_the_epochs(epochs: int, first: int) -> None:
    pruner = build_pruner(PrunerConfig(), epochs)
    good, bad = [0.1] * epochs, [0.9] * epochs
    assert isinstance(pruner, HalvingPruner)
    at = [n for n in range(1, epochs + 1) if is_pruned(pruner, good, bad[:n])]
    assert at[0] == first


def test_a_continued_trial_is_judged_where_it_is_and_not_where_it_once_was() -> None:
    """Its epochs are reported again; in the database are those after its checkpoint, too."""
    study = study_of([[0.1] * 5, [0.9] * 5])
    trial = optuna.Trial(study, study.trials[1]._trial_id)
    study.pruner = HalvingPruner(2, 2)
    ledger = TrialStore(study, study._storage, StudyPaths(Path("s")), Roomy(), lambda: None)  # type: ignore[arg-type]
    answers = []
    for epoch in (1, 2):
        ledger.report_epoch(trial, epoch, 0.9)
        answers.append(trial.should_prune())
    assert answers == [False, True]


class Roomy:
    """A disk that is never full."""

    n_waits = 0

    def retry_when_full(self, do: Callable[[], None]) -> None:
        do()
