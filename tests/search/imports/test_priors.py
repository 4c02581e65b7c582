"""Good configurations of earlier studies, selected for the space of a new one."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths
from harness.search.imports.priors import check_prior_names, plan_priors
from tests.report.studies import Builder
from tests.search.earlier import new_definition
from tests.search.fakes import FakeExecutor, controller_of

SPACE = {
    "parameters": {
        "loss.dice": {"low": 0.0, "high": 1.0},
        "model.encoder_depth": {"low": 3, "high": 5},
    },
    "fixed": {"train.epochs": 4, "data.image_size": 32},
}


@pytest.fixture
def old(study: Builder) -> Builder:
    """Eight trials that ended: trial 6 is the best, then trial 3."""
    for number in range(8):
        value = {6: 0.2, 3: 0.3}.get(number, 0.9)
        share = 0.1 * number
        study.trial(number, [0.95, value], {"loss.dice": share, "model.encoder_depth": 5})
    return study


def paths_of(study: Builder) -> StudyPaths:
    return StudyPaths(study.root / "studies" / "new")


def test_best_quarter_is_taken_in_order(old: Builder) -> None:
    paths = paths_of(old)
    (prior,) = plan_priors([old.name], paths, new_definition(paths, SPACE), 40)
    assert (prior.study, prior.id, prior.first) == (old.name, "0" * 32, 4)
    assert [row["loss.dice"] for row in prior.rows] == pytest.approx([0.6, 0.3])
    assert {row["model.encoder_depth"] for row in prior.rows} == {5}


@pytest.mark.parametrize(("trials", "first"), [(6, 1), (20, 2), (40, 4), (400, 40)])
def test_portfolio_is_a_tenth_of_the_trials(old: Builder, trials: int, first: int) -> None:
    paths = paths_of(old)
    (prior,) = plan_priors([old.name], paths, new_definition(paths, SPACE), trials)
    assert prior.first == first


def test_unknown_study_and_useless_study_are_named(old: Builder) -> None:
    paths = paths_of(old)
    other = {"parameters": {"optim.lr": {"low": 1e-5, "high": 1e-3}}, "fixed": SPACE["fixed"]}
    with pytest.raises(ConfigError, match=r"--prior odl: there is no study odl") as refusal:
        plan_priors(["odl", old.name], paths, new_definition(paths, SPACE), 40)
    assert len(refusal.value.problems) == 1
    empty = Builder(old.root, "empty")
    with pytest.raises(ConfigError, match=r"--prior empty: no complete trial of it has values"):
        plan_priors([empty.name], paths, new_definition(paths, other), 40)


def test_grid_takes_no_prior(old: Builder) -> None:
    paths = paths_of(old)
    definition = new_definition(paths, SPACE)
    sampler = definition.config.sampler.model_copy(update={"name": "grid"})
    config = definition.config.model_copy(update={"sampler": sampler})
    with pytest.raises(ConfigError, match="--prior: has no effect on a list of combinations"):
        plan_priors([old.name], paths, replace(definition, config=config), 40)


def test_started_study_takes_no_other_prior(old: Builder) -> None:
    paths = paths_of(old)
    config = new_definition(paths, SPACE).config
    with pytest.raises(ConfigError, match="has started without this prior"):
        check_prior_names(["old"], paths, config)
    check_prior_names([], paths, config)


def test_study_trains_the_portfolio_in_turn_and_repeats(old: Builder, tmp_path: Path) -> None:
    paths = paths_of(old)
    definition = new_definition(paths, SPACE)
    priors = plan_priors([old.name], paths, definition, 20)
    config = definition.config.model_copy(update={"priors": priors})
    definition = replace(definition, config=config)

    def shares(root: Path, *stops: int) -> list[float]:
        executors = []
        for trials in stops:
            executor = FakeExecutor(lambda task: [0.9, 0.5, 0.4, 0.3])
            controller_of(root, definition, executor).run(trials)
            executors.append(executor)
        return [task.config.loss.dice for ended in executors for task in ended.started]

    together = shares(tmp_path / "a", 8)
    assert [together[0], together[2]] == pytest.approx([0.6, 0.3])
    assert shares(tmp_path / "b", 3, 8) == together, "a continued study draws the same"
