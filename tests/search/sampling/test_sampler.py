from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from scipy.stats.qmc import Sobol

from harness.config.study import SamplerConfig
from harness.core.errors import ConfigError
from harness.execution.protocol import TrialTask
from harness.search.sampling.distributions import to_distribution
from harness.search.sampling.sampler import SpaceSampler
from harness.search.sampling.seeds import derive_seed
from harness.search.storage.storage import open_storage
from harness.space.reading.load_space import space_from_dict
from harness.space.space import AllowedValues, IntRange, RangeMatch, SearchSpace
from tests.search.fakes import FakeExecutor, controller_of, definition_of

CONDITIONAL: dict[str, Any] = {
    "parameters": {
        "model.arch": {"choices": ["UnetPlusPlus", "Linknet"]},
        "model.encoder_depth": {"low": 3, "high": 5},
        "model.options.decoder_attention_type": {
            "choices": [None, "scse"],
            "when": {"model.arch": "UnetPlusPlus"},
        },
        "optim.lr": {"low": 1e-5, "high": 1e-2, "log": True},
        "data.image_size": {"choices": [64, [64, 96]]},
    },
    "fixed": {"train.epochs": 1},
    "forbid": [{"model.arch": "Linknet", "model.encoder_depth": [3, 4]}],
}


def curve(task: TrialTask) -> list[float]:
    """Better with depth, and with a rate near 1e-3."""
    return [0.9 - 0.1 * task.config.model.encoder_depth + abs(task.config.optim.lr - 1e-3)]


def run(root: Path, space: dict[str, Any], trials: int, **settings: Any) -> FakeExecutor:
    executor = FakeExecutor(curve)
    controller_of(root, definition_of(space, **settings), executor).run(trials)
    return executor


@pytest.mark.parametrize("name", ["tpe", "random", "gp", "qmc"])
def test_every_sampler_keeps_to_conditions_and_rules(tmp_path: Path, name: str) -> None:
    sampler = {"name": name, "n_startup_trials": 5}
    executor = run(tmp_path, CONDITIONAL, 16, sampler=sampler)
    study = optuna.load_study(study_name="s", storage=open_storage(tmp_path / "optuna.db"))
    assert len(executor.started) == len(study.trials) == 16
    for task, trial in zip(executor.started, study.trials, strict=True):
        model = task.config.model
        attention = "model.options.decoder_attention_type"
        assert (attention in trial.params) == (model.arch == "UnetPlusPlus")
        assert model.arch == "UnetPlusPlus" or model.encoder_depth == 5
        assert 1e-5 <= task.config.optim.lr <= 1e-2
    assert {task.config.data.height_width for task in executor.started} == {(64, 64), (64, 96)}
    assert {trial.params["data.image_size"] for trial in study.trials} == {64, "[64, 96]"}
    assert len({task.config.model.arch for task in executor.started}) == 2


def test_qmc_takes_the_point_of_the_sequence_that_has_the_trials_number(tmp_path: Path) -> None:
    square = {key: {"low": 0.0, "high": 1.0} for key in ("loss.dice", "loss.jaccard")}
    space = {"parameters": square, "fixed": {"train.epochs": 1}}
    executor = run(tmp_path, space, 8, sampler={"name": "qmc", "qmc_type": "sobol"}, seed=5)
    drawn = [(task.config.loss.dice, task.config.loss.jaccard) for task in executor.started]
    sequence = Sobol(2, scramble=True, seed=5).random(8)
    np.testing.assert_allclose(drawn[1:], sequence[1:], atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_half_a_space_forbidden_costs_no_row_and_never_traps(tmp_path: Path, seed: int) -> None:
    half = {
        "parameters": {
            "model.arch": {"choices": ["Unet", "Linknet", "FPN"]},
            "model.encoder_depth": {"low": 2, "high": 5},
        },
        "fixed": {"train.epochs": 1},
        "forbid": [
            {"model.arch": "Unet", "model.encoder_depth": [4, 5]},
            {"model.arch": "Linknet", "model.encoder_depth": [2, 3]},
            {"model.arch": "FPN", "model.encoder_depth": [2, 5]},
        ],
    }
    executor = run(tmp_path, half, 40, seed=seed)
    drawn = {(t.config.model.arch, t.config.model.encoder_depth) for t in executor.started}
    allowed = {("Unet", 2), ("Unet", 3), ("Linknet", 4), ("Linknet", 5), ("FPN", 3), ("FPN", 4)}
    assert len(executor.started) == 40
    assert drawn <= allowed and len(drawn) >= 4


def test_space_in_which_nothing_is_allowed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.search.sampling.sampler.MAX_DRAWS", 50)
    depth = IntRange("model.encoder_depth", 3, 4)
    space = SearchSpace(
        (depth,), forbid=({depth.key: RangeMatch(3, 5)},)
    )  # reading would refuse it
    study = optuna.create_study(sampler=SpaceSampler(space, SamplerConfig(), 0))
    with pytest.raises(ConfigError, match="trial 0: 50 draws were all forbidden; loosen `forbid`"):
        study.ask().suggest_int("model.encoder_depth", 3, 4)


def read(**content: Any) -> SearchSpace:
    return space_from_dict(content, source="space", legal=AllowedValues())


def test_partial_first_row_is_completed_within_the_rules(tmp_path: Path) -> None:
    row = {"model.arch": "Linknet", "optim.lr": 1e-3}
    executor = run(tmp_path, CONDITIONAL | {"enqueue": [row]}, 1)
    config = executor.started[0].config
    assert (config.model.arch, config.optim.lr) == ("Linknet", 1e-3)
    assert config.model.encoder_depth == 5  # all that the rules leave to Linknet


GRID: dict[str, Any] = {
    "parameters": {
        "model.arch": {"choices": ["Unet", "Linknet"]},
        "model.encoder_depth": {"low": 4, "high": 5},
    },
    "fixed": {"train.epochs": 1},
}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"model.arch": "Linknet", "model.encoder_depth": 4}] * 2, 5),
        ([{"model.arch": "Linknet"}] * 3, 5),  # two free points agree, the third is a repetition
        ([{"model.encoder_depth": 4}, {"model.arch": "Unet", "model.encoder_depth": 4}], 5),
        ([{"model.arch": "Linknet"}, {"model.arch": "Unet"}], 4),
    ],
)
def test_grid_is_whole_beside_rows_that_are_repeated(
    tmp_path: Path, rows: list[dict[str, Any]], expected: int
) -> None:
    executor = run(tmp_path, GRID | {"enqueue": rows}, 40, sampler={"name": "grid"})
    drawn = [(t.config.model.arch, t.config.model.encoder_depth) for t in executor.started]
    assert len(drawn) == expected and len(set(drawn)) == 4


def test_grid_trial_killed_while_it_was_asked_takes_a_free_point(tmp_path: Path) -> None:
    """Three of four points are taken: depth 5 is the only one that is left under Linknet."""
    done = [("Unet", 4), ("Unet", 5), ("Linknet", 4)]
    for seed in range(4):  # drawn at random, depth 4 would come too
        study = optuna.create_study()
        space = read(**GRID)
        study.sampler = SpaceSampler(space, SamplerConfig(name="grid"), seed)
        for arch, depth in done:
            trial = study.ask()
            assert trial.suggest_categorical("model.arch", ["Unet", "Linknet"]) == arch
            assert trial.suggest_int("model.encoder_depth", 4, 5) == depth
        killed = study.ask()
        killed.suggest_categorical("model.arch", ["Unet", "Linknet"])
        again = optuna.Trial(study, killed._trial_id)
        assert again.suggest_categorical("model.arch", ["Unet", "Linknet"]) == "Linknet"
        assert again.suggest_int("model.encoder_depth", 4, 5) == 5


def test_distributions_say_what_the_space_says() -> None:
    space = read(
        parameters={
            "optim.lr": {"low": 1e-5, "high": 1e-2, "log": True},
            "train.batch_size": {"low": 4, "high": 16, "step": 4},
            "data.subset": {"low": 0.2, "high": 1.0, "step": 0.2},
            "optim.grad_clip": {"choices": [None, 1.0]},
        }
    )
    by_key = {key: to_distribution(parameter) for key, parameter in space.by_key.items()}
    expected = optuna.distributions
    assert by_key == {
        "optim.lr": expected.FloatDistribution(1e-5, 1e-2, log=True),
        "train.batch_size": expected.IntDistribution(4, 16, step=4),
        "data.subset": expected.FloatDistribution(0.2, 1.0, step=0.2),
        "optim.grad_clip": expected.CategoricalDistribution([None, 1.0]),
    }


def test_seeds_differ_between_trials_and_draws_and_never_change() -> None:
    seeds = {derive_seed(0, number, draw) for number in range(50) for draw in range(50)}
    assert len(seeds) == 2500
    # NumPy documents that SeedSequence gives the same on every platform and version.
    assert derive_seed(0, 1) == derive_seed(0, 1) != derive_seed(1, 0)
