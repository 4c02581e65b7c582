import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from harness.space.parameters import (
    AnyOf,
    Categorical,
    FloatRange,
    IntRange,
    RangeMatch,
    format_value,
    same_value,
)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1, 1.0, True), (True, 1, False), (False, 0, False), (True, True, True), (None, 0, False),
        ("1", 1, False), ([1, 2], [1.0, 2], True), ([1], [True], False), ([1, 2], [1], False),
    ],
)  # fmt: skip
def test_same_takes_numbers_by_value_and_booleans_apart(
    one: object, other: object, equal: bool
) -> None:
    assert same_value(one, other) is equal and same_value(other, one) is equal


def test_any_of_holds_for_its_values_only() -> None:
    match = AnyOf((None, "scse", [64, 32]))
    assert [match.holds(v) for v in (None, "scse", [64, 32], [64], "none")] == [
        True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("match", "plain"),
    [
        (AnyOf(("a",)), "a"),
        (AnyOf(("a", "b")), ["a", "b"]),
        (AnyOf(([1, 2],)), [[1, 2]]),  # a bare list would mean any of its items
        (RangeMatch(0.5, None), {"low": 0.5}),
        (RangeMatch(1, 2), {"low": 1, "high": 2}),
    ],
)
def test_match_is_written_as_it_is_read(match: AnyOf | RangeMatch, plain: object) -> None:
    assert match.as_plain() == plain


def test_between_includes_both_ends_and_only_numbers() -> None:
    match = RangeMatch(1, 2)
    assert [match.holds(v) for v in (1, 1.5, 2, 0.999, 2.001, True, "1", None)] == [
        True, True, True, False, False, False, False, False,
    ]  # fmt: skip
    assert RangeMatch(None, 2).holds(-9) and RangeMatch(1, None).holds(9)


def test_choice_stores_lists_as_json_and_gives_them_back() -> None:
    choice = Categorical("model.options.decoder_channels", ([64, 32], [32, 16], None, "x", 2))
    assert choice.optuna_choices == ("[64, 32]", "[32, 16]", None, "x", 2)
    assert [choice.from_optuna(stored) for stored in choice.optuna_choices] == list(choice.choices)
    CategoricalDistribution(choice.optuna_choices)  # the types that Optuna takes without warning


def test_choice_refuses_a_stored_value_that_is_none_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"k: 'b' is not one of \['a', 1\]"):
        Categorical("k", ("a", 1)).from_optuna("b")
    with pytest.raises(ValueError, match="True is not one of"):
        Categorical("k", ("a", 1)).from_optuna(True)


def test_whole_lists_its_values_with_both_ends() -> None:
    whole = IntRange("k", 2, 8, 3)
    assert list(whole.values()) == [2, 5, 8] and whole.size == 3
    assert [v for v in range(10) if whole.contains(v)] == [2, 5, 8]
    assert not whole.contains(5.0) and not whole.contains(True)


def test_real_lists_decimal_steps_without_rounding_errors() -> None:
    real = FloatRange("k", 0.1, 0.7, 0.2)
    assert list(real.values()) == [0.1, 0.3, 0.5, 0.7] and real.size == 4
    assert real.contains(0.1 + 0.2) and not real.contains(0.4)


def test_real_without_step_is_endless() -> None:
    real = FloatRange("k", 0.0, 1.0)
    assert real.size is None and real.contains(1) and not real.contains(1.0000001)
    with pytest.raises(ValueError, match="no step"):
        list(real.values())


@pytest.mark.parametrize(
    ("parameter", "distribution"),
    [
        (IntRange("k", 2, 11, 3), IntDistribution(2, 11, step=3)),
        (FloatRange("k", 0.1, 0.7, 0.2), FloatDistribution(0.1, 0.7, step=0.2)),
        (FloatRange("k", 1e-5, 1e-2, log=True), FloatDistribution(1e-5, 1e-2, log=True)),
    ],
)
def test_ranges_contain_what_optuna_contains(
    parameter: IntRange | FloatRange, distribution: IntDistribution | FloatDistribution
) -> None:
    tried = [*range(1, 13), *(i / 100 for i in range(1, 100)), 1e-5, 1e-2, 9e-6]
    numbers = [n for n in tried if isinstance(n, int) or isinstance(parameter, FloatRange)]
    assert [parameter.contains(n) for n in numbers] == [
        distribution._contains(distribution.to_internal_repr(n)) for n in numbers
    ]
    assert any(map(parameter.contains, numbers)) and not all(map(parameter.contains, numbers))


def test_as_plain_spells_every_field_out() -> None:
    when = {"model.arch": AnyOf(("Unet",))}
    assert Categorical("k", (1, None), when).as_plain() == {
        "choices": [1, None],
        "when": {"model.arch": "Unet"},
    }
    assert IntRange("k", 1, 3).as_plain() == {"low": 1, "high": 3, "step": 1, "log": False}
    assert FloatRange("k", 0.5, 3.0, log=True).as_plain() == {
        "low": 0.5, "high": 3.0, "step": None, "log": True,
    }  # fmt: skip


def test_shown_writes_yaml_words_and_cuts_long_values() -> None:
    assert [format_value(v) for v in (None, True, False, 1, "a")] == [
        "null",
        "true",
        "false",
        "1",
        "'a'",
    ]
    assert len(format_value("x" * 1000)) == 81
