from pathlib import Path
from typing import Any

import pytest

from harness.config.objective import ObjectiveConfig
from harness.config.study_files import read_study_config
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths
from harness.core.records import read_records
from harness.evaluation.confirm.plan import (
    ConfirmationPlan,
    confirmation_space,
    extend_confirmation_plan,
    find_unconfirmed,
    read_confirmation_plan,
)
from harness.evaluation.confirm.plan import write_confirmation_plan as write
from harness.search.definition.definition import StudyDefinition
from harness.space.reading.load_space import space_from_dict
from harness.space.space import AllowedValues
from tests.evaluation.confirming import a_search

SPACE = {"parameters": {"optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}}}


def definition(paths: StudyPaths) -> StudyDefinition:
    return StudyDefinition(
        read_study_config(paths),
        space_from_dict(SPACE, source="space", legal=AllowedValues()),
        True,
    )


def planned(paths: StudyPaths, **asked: Any) -> ConfirmationPlan:
    """A plan made and written."""
    wanted = {"top": None, "seeds": None, "folds": None} | asked
    plan = extend_confirmation_plan(paths, definition(paths), **wanted)
    write(paths, plan)
    return plan


def pairs(plan: ConfirmationPlan) -> list[tuple[int, int]]:
    return [(run.trial, run.part) for run in plan.runs]


def test_first_seed_of_all_comes_before_the_second(tmp_path: Path) -> None:
    plan = planned(a_search(tmp_path).paths, top=2, seeds=2)
    assert pairs(plan) == [(1, 0), (2, 0), (1, 1), (2, 1)]


def test_nothing_asked_is_five_on_three_seeds(tmp_path: Path) -> None:
    losses = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    plan = planned(a_search(tmp_path, losses).paths)
    assert (plan.trials, plan.seeds, len(plan.runs)) == ((0, 1, 2, 3, 4), 3, 15)


def test_one_configuration_is_confirmed_once_and_by_its_best_trial(tmp_path: Path) -> None:
    study = a_search(tmp_path)
    study.trial(3, [0.9, 0.15], {"optim.lr": 3e-3})  # that of trial 2, on another seed
    assert planned(study.paths, top=3).trials == (3, 1, 0)


def test_pruned_failed_and_unfinished_trials_are_not_confirmed(tmp_path: Path) -> None:
    study = a_search(tmp_path, [0.3])
    for number, state in enumerate(("pruned", "failed", "running"), start=1):
        study.trial(number, [0.1], {"optim.lr": 1e-4 * number}, state=state)
    assert planned(study.paths, top=5).trials == (0,)


def test_imported_trials_are_confirmed(tmp_path: Path) -> None:
    study = a_search(tmp_path)
    study.trial(3, [0.1], {"optim.lr": 9e-3}, imported="other/7")
    assert planned(study.paths, top=1).trials == (3,)


def test_where_more_is_better_the_highest_are_confirmed(tmp_path: Path) -> None:
    objective = {"metric": "val/dice", "direction": "maximize"}
    assert planned(a_search(tmp_path, objective=objective).paths, top=2).trials == (0, 2)


def test_seeds_are_fresh_and_each_is_used_once(tmp_path: Path) -> None:
    study = a_search(tmp_path)
    plan = planned(study.paths, top=3, seeds=3)
    seeds = [run.seed for run in plan.runs]
    assert len(set(seeds)) == 9
    assert not set(seeds) & {record.seed for record in read_records(study.paths)}


def test_a_seed_that_the_search_had_is_passed_over(tmp_path: Path) -> None:
    """The same plan beside a search in which the first seed was taken differs in that one."""
    plan = planned(a_search(tmp_path / "a").paths, top=1, seeds=2)
    study = a_search(tmp_path / "b")
    study.trial(3, [0.9], {"optim.lr": 9e-3}, seed=plan.runs[0].seed)
    other = planned(study.paths, top=1, seeds=2)
    assert other.runs[0].seed != plan.runs[0].seed
    assert other.runs[1] == plan.runs[1]


def test_more_seeds_and_more_configurations_are_appended(tmp_path: Path) -> None:
    paths = a_search(tmp_path).paths
    first = planned(paths, top=2, seeds=2)
    more = planned(paths, seeds=3)
    assert more.runs[:4] == first.runs
    assert pairs(more)[4:] == [(1, 2), (2, 2)]
    most = planned(paths, top=3)
    assert most.runs[:6] == more.runs
    assert pairs(most)[6:] == [(0, 0), (0, 1), (0, 2)]


def test_the_same_again_and_less_change_nothing(tmp_path: Path) -> None:
    paths = a_search(tmp_path).paths
    plan = planned(paths, top=3, seeds=3)
    assert planned(paths, top=3, seeds=3) == plan
    assert planned(paths) == plan
    assert planned(paths, top=1, seeds=2) == plan
    assert read_confirmation_plan(paths.confirm) == plan


def test_what_the_search_finds_later_waits_for_a_larger_top(tmp_path: Path) -> None:
    study = a_search(tmp_path)
    plan = planned(study.paths, top=2, seeds=2)
    study.trial(3, [0.05], {"optim.lr": 9e-3})
    assert planned(study.paths, top=2) == plan
    assert find_unconfirmed(plan, read_records(study.paths), ObjectiveConfig()) == [3]
    assert planned(study.paths, top=3).trials == (1, 2, 3)


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        ({}, {"seeds": 2, "folds": 2}, "give only one of them"),
        (
            {"seeds": 2},
            {"folds": 3},
            r"--folds 3: study tiny is confirmed on 2 seeds; .*move .*confirm",
        ),
        ({"folds": 2}, {"seeds": 3}, "--seeds 3: study tiny is confirmed on 2 folds"),
        ({"folds": 2}, {"folds": 3}, "a different number would change the images of each fold"),
    ],
)
def test_seeds_and_folds_do_not_mix(
    tmp_path: Path, first: dict[str, int], then: dict[str, int], message: str
) -> None:
    paths = a_search(tmp_path).paths
    plan = planned(paths, **first)
    with pytest.raises(ConfigError, match=message):
        planned(paths, **then)
    assert read_confirmation_plan(paths) == plan


def test_a_study_without_a_complete_trial_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no complete trial yet"):
        planned(a_search(tmp_path, []).paths)


def test_rows_hold_the_configuration_and_the_seed(tmp_path: Path) -> None:
    study = a_search(tmp_path, fixed={"train.epochs": 4, "train.seed": 7})
    plan = planned(study.paths, top=2, seeds=2)
    whole = definition(study.paths)
    space = confirmation_space(plan, whole, {r.number: r for r in read_records(study.paths)})
    assert space.rows[0] == {"optim.lr": 0.002, "train.seed": plan.runs[0].seed}
    assert space.labels[3] == {"confirms": "2", "seed": "1"}
    assert space.fixed == {"train.epochs": 4}
    assert space.configuration(space.rows[2]).train.seed == plan.runs[2].seed
    with pytest.raises(ConfigError, match="the plan confirms trial 2, but its folder is missing"):
        confirmation_space(plan, whole, {1: read_records(study.paths)[1]})
