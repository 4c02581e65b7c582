"""Recorded curves played to the controller: what a draw is mapped to and charged, by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.recorded import Table, read_table
from benchmarks.replay_scores import interval, score, until
from benchmarks.replaying import Played, replay
from benchmarks.search_replay import KeepBest
from harness.core import files
from harness.search.definition.write_definition import write_definition
from tests.search.fakes import FakeExecutor, controller_of, definition_of

RATES = (1e-4, 1e-3, 1e-2, 1e-1)
CURVES = ([0.9, 0.8, 0.7], [0.8, 0.6, 0.5], [0.7, 0.4, 0.2], [0.95, 0.95, 0.9])
TPE: dict[str, Any] = {"sampler": {"name": "tpe"}, "pruner": {"name": "none"}}


def table_of() -> Table:
    """Four networks: rates a decade apart, two schedules."""
    configs = tuple(
        {"optim.lr": lr, "optim.schedule": schedule, "train.batch_size": 8}
        for lr, schedule in zip(RATES, ("cosine", "constant", "cosine", "constant"), strict=True)
    )
    return Table((10, 11, 12, 13), configs, np.array(CURVES), "val/dice_loss")


@pytest.mark.parametrize(
    ("drawn", "used", "network"),
    [
        ({"optim.lr": 9e-4, "optim.schedule": "constant"}, set(), 1),
        # 0.98 decades of 3 from network 1 and another name: 1.02 decades from 0 or 2 is less.
        ({"optim.lr": 9e-4, "optim.schedule": "cosine"}, set(), 0),
        ({"optim.lr": 9e-4, "optim.schedule": "cosine"}, {0}, 2),
        ({"optim.lr": 9e-4, "optim.schedule": "constant"}, {1}, 3),
        ({"optim.lr": 9e-4, "optim.schedule": "constant"}, {1, 3}, 0),
        ({"optim.lr": 1e-2, "optim.schedule": "onecycle"}, set(), 2),
    ],
)
def test_a_draw_is_mapped_to_the_nearest_unused_network(
    drawn: dict[str, Any], used: set[int], network: int
) -> None:
    assert table_of().nearest(drawn, used) == network


def test_numbers_within_a_decade_are_compared_as_they_are() -> None:
    """0.5 lies nearer to 0.7 than to 0.2, though not in the logarithm of 0.1 to 0.9's decade."""
    values = (0.15, 0.32, 0.7)
    configs = tuple({"loss.dice": value} for value in values)
    table = Table((0, 1, 2), configs, np.array(CURVES[:3]), "val/dice_loss")
    assert table.nearest({"loss.dice": 0.52}, set()) == 2
    wide = Table((0, 1, 2), ({"loss.dice": 0.01}, *configs[1:]), table.curves, "val/dice_loss")
    assert wide.nearest({"loss.dice": 0.06}, set()) == 1  # log: 1.79 from 0.01, 1.67 from 0.32


def test_the_space_holds_every_network() -> None:
    assert table_of().space() == {
        "parameters": {
            "optim.lr": {"low": 1e-4, "high": 1e-1, "log": True},
            "optim.schedule": {"choices": ["constant", "cosine"]},
        },
        "fixed": {"train.epochs": 3},
    }


def test_each_network_is_played_once_and_charged_its_epochs() -> None:
    played = replay(table_of(), TPE, seed=0, trials=9)
    assert sorted(one.network for one in played) == [0, 1, 2, 3]
    assert {(one.epochs, one.complete) for one in played} == {(3, True)}


def test_a_pruned_network_is_charged_what_it_had() -> None:
    """After 2 epochs only a trial better than all earlier ones continues."""
    played = replay(table_of(), TPE, seed=0, trials=4, pruner=KeepBest(2))
    best = math.inf
    for one in played:
        after_two = min(CURVES[one.network][:2])
        assert one.complete == (after_two <= best)
        assert one.epochs == (3 if one.complete else 2)
        best = min(best, after_two)


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(7, [(3, True), (3, True), (1, False)]), (6, [(3, True)] * 2), (1, [(1, False)])],
)
def test_it_stops_when_the_epochs_are_spent(epochs: int, expected: list[tuple[int, bool]]) -> None:
    played = replay(table_of(), TPE, seed=0, trials=4, epochs=epochs)
    assert [(one.epochs, one.complete) for one in played] == expected
    whole = replay(table_of(), TPE, seed=0, trials=4)
    assert until(whole, epochs) == played


def test_a_replay_is_the_same_again_and_differs_by_seed() -> None:
    settings = TPE | {"pruner": {"name": "curve"}}
    first = [replay(table_of(), settings, seed=seed, trials=4) for seed in range(5)]
    assert first == [replay(table_of(), settings, seed=seed, trials=4) for seed in range(5)]
    assert len({tuple(one.network for one in played) for played in first}) > 1


def test_scores_by_hand() -> None:
    """Best of the table 0.2; complete are 0.5 and 0.7, the best was pruned."""
    played = [Played(0, 3, True), Played(2, 1, False), Played(1, 3, True)]
    found = score(table_of(), played)
    assert (found.epochs, found.cut) == (7, 1.0)
    assert found.regret == pytest.approx(30.0)
    assert found.epochs_to_top == math.inf
    found = score(table_of(), [Played(3, 1, False), Played(2, 3, True)])
    assert (found.regret, found.epochs_to_top, found.cut) == (0.0, 4, 0.0)
    assert score(table_of(), [Played(3, 1, False)]).regret == math.inf


def test_interval_holds_the_mean_and_has_no_width_without_spread() -> None:
    assert interval(np.zeros(5)) == (0.0, 0.0)
    rng = np.random.default_rng(0)
    values = rng.normal(1.0, 2.0, 400)
    low, high = interval(values)
    # mean +- 1.96 standard errors, which for 400 values the bootstrap reproduces
    error = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.03)


def test_a_jsonl_is_read(tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    for number in range(2):
        epochs = [{"val/dice_loss": value, "seconds": 1.0} for value in CURVES[number]]
        config = {"optim.lr": RATES[number]}
        files.append_jsonl(path, {"id": number, "config": config, "epochs": epochs})
    table = read_table(path)
    assert table.ids == (0, 1)
    assert table.curves.tolist() == [list(curve) for curve in CURVES[:2]]


def test_a_study_is_read_from_its_folder(tmp_path: Path) -> None:
    """Complete trials alone: the pruned third one has no whole curve."""
    space = {"parameters": {"optim.lr": {"low": 1e-4, "high": 1e-1, "log": True}}}
    pruner = {"name": "median", "n_startup_trials": 2, "warmup": 0.0, "n_min_trials": 1}
    definition = definition_of(space, fixed={"train.epochs": 3}, pruner=pruner)
    curves = (CURVES[1], CURVES[2], CURVES[3])
    executor = FakeExecutor(lambda task: curves[task.number])
    controller = controller_of(tmp_path, definition, executor)
    paths = controller._context.paths
    write_definition(paths, definition, [])
    controller.run(3)
    table = read_table(paths.root)
    assert table.ids == (0, 1)
    assert table.curves.tolist() == [list(curve) for curve in curves[:2]]
    assert list(table.configs[0]) == ["optim.lr"]


def test_a_table_of_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    path.write_text("", encoding="utf-8")
    with pytest.raises(SystemExit, match="holds 0 complete curves"):
        read_table(path)
