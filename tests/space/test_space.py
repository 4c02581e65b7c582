"""Search spaces that are small enough to list their combinations by hand."""

import math
import random

import pytest

from harness.core.errors import ConfigError
from harness.space.space import AnyOf, Categorical, FloatRange, IntRange, RangeMatch, SearchSpace

ARCH = Categorical("model.arch", ("Unet", "Linknet"))
DEPTH = IntRange("model.encoder_depth", 3, 5)
ATTENTION = Categorical(
    "model.options.decoder_attention_type", (None, "scse"), {"model.arch": AnyOf(("Unet",))}
)
OPTION = ATTENTION.key


def test_grid_lists_every_allowed_combination_in_order() -> None:
    space = SearchSpace(
        (ARCH, ATTENTION, IntRange("model.encoder_depth", 4, 5)),
        forbid=({"model.arch": AnyOf(("Linknet",)), "model.encoder_depth": AnyOf((4,))},),
    )
    unet = {"model.arch": "Unet"}
    assert list(space.grid()) == [
        unet | {OPTION: None, "model.encoder_depth": 4},
        unet | {OPTION: None, "model.encoder_depth": 5},
        unet | {OPTION: "scse", "model.encoder_depth": 4},
        unet | {OPTION: "scse", "model.encoder_depth": 5},
        {"model.arch": "Linknet", "model.encoder_depth": 5},
    ]
    assert space.grid_size == 5


def test_grid_of_a_space_without_parameters_is_one_trial() -> None:
    assert list(SearchSpace(fixed={"optim.lr": 0.1}).grid()) == [{}]


def test_grid_names_every_parameter_without_step() -> None:
    space = SearchSpace(
        (FloatRange("optim.lr", 1e-5, 1e-2), ARCH, FloatRange("loss.dice", 0.0, 1.0))
    )
    with pytest.raises(ConfigError, match=r"^optim.lr, loss.dice: a grid needs `step`"):
        space.grid()


def test_grid_size_refuses_to_count_for_minutes() -> None:
    space = SearchSpace(
        (IntRange("train.epochs", 1, 10_000), IntRange("train.batch_size", 1, 4096))
    )
    with pytest.raises(ConfigError, match="more than 100,000 combinations"):
        _ = space.grid_size
    assert next(space.grid()) == {"train.epochs": 1, "train.batch_size": 1}


def test_grid_leaves_out_what_the_trial_configuration_refuses() -> None:
    space = SearchSpace((Categorical("loss.dice", (0, 1)), Categorical("loss.bce", (0, 1))))
    assert [tuple(row.values()) for row in space.grid()] == [(0, 1), (1, 0), (1, 1)]


def test_parameter_is_absent_where_its_condition_does_not_hold() -> None:
    space = SearchSpace((ARCH, ATTENTION))
    assert space.is_active(ATTENTION, {"model.arch": "Unet"})
    assert not space.is_active(ATTENTION, {"model.arch": "Linknet"})
    assert not space.is_active(ATTENTION, {})


def test_conditions_are_joined_by_and_and_lists_by_or() -> None:
    parameter = Categorical(
        OPTION,
        ("scse",),
        {"model.arch": AnyOf(("Unet", "MAnet")), "model.encoder_depth": RangeMatch(4, None)},
    )
    space = SearchSpace((ARCH, DEPTH, parameter))
    applies = {
        (arch, depth): space.is_active(
            parameter, {"model.arch": arch, "model.encoder_depth": depth}
        )
        for arch in ("Unet", "Linknet")
        for depth in (3, 4, 5)
    }
    assert [pair for pair, holds in applies.items() if holds] == [("Unet", 4), ("Unet", 5)]


def test_condition_on_an_absent_parameter_does_not_hold() -> None:
    """Its default would be None, but an inactive parameter has no value at all."""
    child = Categorical("optim.grad_clip", (1.0, 2.0), {OPTION: AnyOf((None,))})
    space = SearchSpace((ARCH, ATTENTION, child))
    assert space.is_active(child, {"model.arch": "Unet", OPTION: None})
    assert not space.is_active(child, {"model.arch": "Linknet"})


def test_condition_on_what_is_not_searched_sees_fixed_values_and_defaults() -> None:
    momentum = FloatRange("optim.momentum", 0.5, 0.9, when={"optim.name": AnyOf(("sgd",))})
    assert SearchSpace((momentum,), {"optim.name": "sgd"}).is_active(momentum, {})
    assert not SearchSpace((momentum,)).is_active(momentum, {})  # the default is adamw


def test_forbidden_names_the_rule() -> None:
    rule = {"model.arch": AnyOf(("Unet", "FPN")), "model.encoder_depth": RangeMatch(None, 4)}
    space = SearchSpace((ARCH, DEPTH), forbid=(rule,))
    reason = space.refusal_reason({"model.arch": "Unet", "model.encoder_depth": 4})
    assert reason == (
        "forbidden by {'model.arch': ['Unet', 'FPN'], 'model.encoder_depth': {'high': 4}}"
    )
    assert space.refusal_reason({"model.arch": "Unet", "model.encoder_depth": 5}) is None
    assert space.refusal_reason({"model.arch": "Linknet", "model.encoder_depth": 4}) is None


def test_rule_with_an_absent_key_does_not_forbid() -> None:
    space = SearchSpace((ARCH, ATTENTION), forbid=({OPTION: AnyOf((None,))},))
    assert space.refusal_reason({"model.arch": "Unet", OPTION: None}) is not None
    assert space.refusal_reason({"model.arch": "Linknet"}) is None


def test_rule_sees_fixed_values() -> None:
    rule = {"model.arch": AnyOf(("Unet",)), "data.image_size": AnyOf((64,))}
    values = {"model.arch": "Unet"}
    assert SearchSpace((ARCH,), {"data.image_size": 64}, (rule,)).refusal_reason(values) is not None
    assert SearchSpace((ARCH,), {"data.image_size": 96}, (rule,)).refusal_reason(values) is None


def test_forbidden_repeats_what_the_trial_configuration_says() -> None:
    both = SearchSpace(
        (FloatRange("optim.encoder_lr", 1e-5, 1e-3),), {"optim.encoder_lr_scale": 0.1}
    )
    reason = both.refusal_reason({"optim.encoder_lr": 1e-4})
    assert reason is not None and "encoder_lr and encoder_lr_scale are both set" in reason


def test_configuration_is_fixed_values_then_drawn_ones() -> None:
    space = SearchSpace((ARCH, ATTENTION), {"train.epochs": 3})
    config = space.configuration({"model.arch": "Unet", OPTION: "scse"})
    assert (config.model.arch, config.model.options, config.train.epochs) == (
        "Unet", {"decoder_attention_type": "scse"}, 3,
    )  # fmt: skip


def test_stored_values_come_back() -> None:
    channels = Categorical("model.options.decoder_channels", ([64, 32], [32, 16]))
    space = SearchSpace((channels, DEPTH, FloatRange("optim.lr", 1e-5, 1e-2)))
    values = {channels.key: [32, 16], "model.encoder_depth": 4, "optim.lr": 1e-3}
    stored = space.to_optuna(values)
    assert stored == {channels.key: "[32, 16]", "model.encoder_depth": 4, "optim.lr": 1e-3}
    assert space.from_optuna(stored) == values


def test_draw_covers_every_value_and_leaves_out_what_is_not_in_force() -> None:
    space = SearchSpace(
        (ARCH, ATTENTION, FloatRange("loss.bce", 0.0, 1.0, 0.5), IntRange("train.epochs", 2, 6, 2))
    )
    rng = random.Random(0)
    rows = [space.sample(rng) for _ in range(300)]
    assert {tuple(row.values()) for row in rows} == {
        (*branch, bce, epochs)
        for branch in (("Unet", None), ("Unet", "scse"), ("Linknet",))
        for bce in (0.0, 0.5, 1.0)
        for epochs in (2, 4, 6)
    }


def test_draw_of_very_many_steps_computes_the_one_value() -> None:
    """Listing these would take 8 TB."""
    rng = random.Random(0)
    values = [
        SearchSpace((FloatRange("optim.lr", 0.0, 1.0, 1e-12),)).sample(rng)["optim.lr"]
        for _ in range(9)
    ]
    assert len(set(values)) == 9
    assert all(value == round(value, 12) and 0 <= value <= 1 for value in values)


def test_draw_is_uniform_in_the_logarithm_where_asked() -> None:
    space = SearchSpace(
        (FloatRange("optim.lr", 1e-5, 1e-1, log=True), IntRange("train.epochs", 1, 100, log=True))
    )
    rng = random.Random(0)
    rows = [space.sample(rng) for _ in range(2000)]
    below = sum(row["optim.lr"] < 1e-3 for row in rows) / 2000
    short = sum(row["train.epochs"] <= 10 for row in rows) / 2000
    half = 4 * math.sqrt(0.25 / 2000)  # four standard deviations of a fair coin
    assert abs(below - 0.5) < half
    assert abs(short - math.log(10.5) / math.log(100)) < half  # 10.5 still rounds to 10
    assert all(1 <= row["train.epochs"] <= 100 for row in rows)


def test_equal_draws_from_equal_seeds() -> None:
    space = SearchSpace((ARCH, ATTENTION, FloatRange("optim.lr", 1e-5, 1e-1, log=True)))
    first, second = random.Random(7), random.Random(7)
    assert [space.sample(first) for _ in range(5)] == [space.sample(second) for _ in range(5)]
