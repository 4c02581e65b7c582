"""Pruning decisions: one per epoch for good, successive halving, settings of the pruners."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import TrialState, create_trial

from harness.config.study import PrunerConfig
from harness.core.environment import EnvironmentInfo
from harness.core.paths import StudyPaths
from harness.core.records import TrialFailure, read_record, write_record
from harness.execution.protocol import Decision, Event, TrialFailed, TrialTask, WorkerDied
from harness.search.pruning.pruner import HalvingPruner, PruningDecider, build_pruner
from harness.search.run.running_trial import RunningTrial
from harness.search.run.trial_store import TrialStore
from harness.search.run.trials import TrialContext, TrialFactory
from harness.search.storage.rebuild import load_or_rebuild_study
from harness.search.storage.storage import open_storage
from tests.search.fakes import FakeExecutor, controller_of, definition_of
from tests.search.run.test_controller import space, trials_of

EPOCHS = 16
HELD = 9  # epochs that were reported before; halving judges after 2, 4 and 8
PRUNERS: list[dict[str, Any]] = [
    {"name": "halving"},
    {"name": "median", "warmup": 0.1},
    {"name": "percentile", "warmup": 0.1},
    {"name": "patient", "warmup": 0.1, "patience": 1},
    {"name": "hyperband", "min_resource": 6},
    {"name": "curve", "control": 0},
]


def bad(task: TrialTask) -> list[float]:
    return [0.9 + epoch / 1000 for epoch in range(EPOCHS)]


def add_trials(study: optuna.Study, value: float, n: int = 8) -> None:
    """Complete trials that had this value in every epoch, with the notes that Hyperband makes."""
    distribution = optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)
    for _ in range(n):
        study.add_trial(
            create_trial(
                value=value,
                params={"optim.lr": 1e-3},
                distributions={"optim.lr": distribution},
                intermediate_values=dict.fromkeys(range(EPOCHS), value),
                system_attrs={f"completed_rung_{rung}": value for rung in range(3)},
            )
        )


def study_in(root: Path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=open_storage(root / "optuna.db"))


class Dying(FakeExecutor):
    """Executor whose controller dies (by an exception) before a decision on trial 0."""

    def __init__(self, epoch: int) -> None:
        super().__init__(bad)
        self._epoch = epoch

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        if self.asked[-1] == (0, self._epoch):
            raise KeyboardInterrupt
        return super().next_event(timeout_s)


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: pruner["name"])
def test_continued_trial_is_judged_only_after_the_epochs_that_optuna_holds(
    tmp_path: Path, pruner: dict[str, Any]
) -> None:
    definition = definition_of(space(EPOCHS), pruner=pruner)
    with pytest.raises(KeyboardInterrupt):
        controller_of(tmp_path, definition, Dying(HELD + 1)).run(1)
    add_trials(study_in(tmp_path), 0.1)
    executor = FakeExecutor(bad)
    controller_of(tmp_path, definition, executor).run(9)
    last = max(epoch for number, epoch in executor.asked if number == 0)
    assert last > HELD, "pruned at an epoch that it had passed"
    fresh = FakeExecutor(bad)
    controller_of(tmp_path, definition, fresh).run(10)
    assert max(epoch for _, epoch in fresh.asked) <= HELD, "the pruner would have pruned it there"


@pytest.mark.parametrize("how", ["failed", "vanished"])
def test_next_attempt_is_not_judged_where_the_last_one_was(tmp_path: Path, how: str) -> None:
    """Other trials come while trial 0 trains; then its worker is lost."""

    class Losing(FakeExecutor):
        def answer(self, number: int, decision: Decision) -> None:
            task = self._tasks[number]
            if task.attempt > 1 or self.asked[-1] != (0, HELD):
                return super().answer(number, decision)
            add_trials(study_in(tmp_path), 0.1)
            del self._tasks[number]
            same: dict[str, Any] = {"number": number, "attempt": 1}
            failure = TrialFailure(cause="crashed", message="OSError: [Errno 5]")
            failed = TrialFailed(failure=failure, **same)
            vanished = WorkerDied(exit_code=-9, log_tail="", **same)
            return self._events.append(failed if how == "failed" else vanished)

    executor = Losing(bad)
    controller_of(tmp_path, definition_of(space(EPOCHS)), executor).run(1)
    assert [task.attempt for task in executor.started] == [1, 2]
    assert trials_of(tmp_path)[0].state is TrialState.COMPLETE, "no rung is left after epoch 9"


def test_database_that_was_rebuilt_from_a_log_that_was_cut_judges_nothing_again(
    tmp_path: Path,
) -> None:
    """Continued from its checkpoint at epoch 3 and killed again; then optuna.db is lost."""
    definition = definition_of(space(EPOCHS))
    with pytest.raises(KeyboardInterrupt):
        controller_of(tmp_path, definition, Dying(HELD + 1)).run(1)
    with pytest.raises(KeyboardInterrupt):
        controller_of(tmp_path, definition, Dying(1)).run(1)
    paths = StudyPaths(tmp_path / "studies" / "s")
    log = paths.trial(0).epochs_jsonl
    log.write_text("".join(log.read_text(encoding="utf-8").splitlines(True)[:3]), encoding="utf-8")
    for file in tmp_path.glob("optuna.db*"):
        file.unlink()
    study = load_or_rebuild_study(
        open_storage(tmp_path / "optuna.db"), paths, definition, lambda _: None
    )
    assert list(study.trials[0].intermediate_values) == [0, 1, 2]
    add_trials(study, 0.1)
    controller_of(tmp_path, definition, FakeExecutor(bad)).run(9)
    assert trials_of(tmp_path)[0].state is TrialState.COMPLETE


def test_verdict_that_did_not_arrive_stands(tmp_path: Path) -> None:
    """The controller dies with its answer; later trials are worse, so that it would pass now."""

    class Deaf(FakeExecutor):
        def answer(self, number: int, decision: Decision) -> None:
            if decision == "prune":
                raise KeyboardInterrupt
            super().answer(number, decision)

    values = {0: 0.1, 1: 0.5}
    definition = definition_of(space(EPOCHS))
    with pytest.raises(KeyboardInterrupt):
        controller_of(tmp_path, definition, Deaf(lambda t: [values[t.number]] * EPOCHS)).run(2)
    record = read_record(StudyPaths(tmp_path / "studies" / "s").trial(1).trial_json)
    assert (record.state, record.pruned_after) == ("running", 2)
    add_trials(study_in(tmp_path), 0.9)
    executor = FakeExecutor(lambda task: [0.5] * EPOCHS)
    controller_of(tmp_path, definition, executor).run(10)
    assert executor.asked == [(1, 1), (1, 2)]
    assert trials_of(tmp_path)[1].state is TrialState.PRUNED


@pytest.mark.parametrize("how", ["failed", "vanished"])
def test_worker_that_is_lost_before_it_obeys_leaves_the_trial_pruned(
    tmp_path: Path, how: str
) -> None:
    """The next epoch, already started, fails; the checkpoint holds epoch 1."""

    class Disobeying(FakeExecutor):
        def answer(self, number: int, decision: Decision) -> None:
            task = self._tasks[number]
            if decision != "prune" or task.attempt > 1:
                return super().answer(number, decision)
            del self._tasks[number]
            same: dict[str, Any] = {"number": number, "attempt": 1}
            failed = TrialFailed(
                failure=TrialFailure(cause="crashed", message="CUDA error"), **same
            )
            vanished = WorkerDied(exit_code=-11, log_tail="", **same)
            return self._events.append(failed if how == "failed" else vanished)

    values = {0: 0.1, 1: 0.5}
    executor = Disobeying(lambda task: [values[task.number]] * EPOCHS)
    controller_of(tmp_path, definition_of(space(EPOCHS)), executor).run(2)
    assert [ask for ask in executor.asked if ask[0] == 1] == [(1, 1), (1, 2)] * 2
    assert trials_of(tmp_path)[1].state is TrialState.PRUNED


def test_hyperband_notes_the_rungs_that_a_trial_of_a_rebuilt_database_has_passed(
    tmp_path: Path,
) -> None:
    """One bracket with one rung after 12 of 16 epochs, whose record Optuna has lost."""
    pruner = {"name": "hyperband", "min_resource": 11}
    definition = definition_of(space(EPOCHS), pruner=pruner)
    with pytest.raises(KeyboardInterrupt):
        controller_of(tmp_path, definition, Dying(14)).run(1)
    paths = StudyPaths(tmp_path / "studies" / "s")
    for file in tmp_path.glob("optuna.db*"):
        file.unlink()
    study = load_or_rebuild_study(
        open_storage(tmp_path / "optuna.db"), paths, definition, lambda _: None
    )
    assert "completed_rung_0" not in study.trials[0].system_attrs
    add_trials(study, 0.1)
    controller_of(tmp_path, definition, FakeExecutor(bad)).run(9)
    trial = trials_of(tmp_path)[0]
    assert trial.state is TrialState.COMPLETE
    assert trial.system_attrs["completed_rung_0"] == pytest.approx(0.911)  # its twelfth value


def test_record_of_an_earlier_version_is_judged_by_what_optuna_holds(tmp_path: Path) -> None:
    """trial.json without the two fields: they are optional."""
    definition = definition_of(space(EPOCHS))
    with pytest.raises(KeyboardInterrupt):
        controller_of(tmp_path, definition, Dying(HELD + 1)).run(1)
    paths = StudyPaths(tmp_path / "studies" / "s")
    record = read_record(paths.trial(0).trial_json)
    write_record(paths.trial(0), record.model_copy(update={"judged": 0}))
    storage = open_storage(tmp_path / "optuna.db")
    study = study_in(tmp_path)
    place = TrialContext(paths, tmp_path, tmp_path, "cpu")
    desk = TrialFactory(study, storage, definition, place, EnvironmentInfo({}, None))
    running: RunningTrial = desk.resume_trial(0)
    assert (running.last_pruner_epoch, running.record.judged) == (HELD, HELD)
    judge = PruningDecider(study, definition)
    add_trials(study, 0.1)
    assert [judge.should_prune(running, epoch) for epoch in (2, 4, 8, HELD)] == [False] * 4


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
    """True if the last of these trials is pruned now."""
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
    """Optuna's rungs are at steps 1, 3, 9 from 0; given epochs for steps, they are the same."""
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
    """A trial that was killed before it received the decision is resumed, and asked again."""
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
