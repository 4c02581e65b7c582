from dataclasses import replace

from harness.space.conditions import find_cycle, outside_problem, sort_by_dependency
from harness.space.parameters import AnyOf, Categorical, FloatRange, IntRange

A, B, C = (Categorical(key, (1, 2)) for key in "abc")


def when(*keys: str) -> dict[str, AnyOf]:
    return {key: AnyOf((1,)) for key in keys}


def test_parameters_come_after_those_their_conditions_name() -> None:
    first, second = replace(A, when=when("c")), replace(C, when=when("b"))
    assert [p.key for p in sort_by_dependency([first, second, B])] == ["b", "c", "a"]


def test_order_is_kept_where_nothing_depends() -> None:
    assert [p.key for p in sort_by_dependency([C, replace(A, when=when("b", "fixed.key")), B])] == [
        "c", "b", "a",
    ]  # fmt: skip


def test_circle_names_the_keys_of_the_circle_alone() -> None:
    leads_in = replace(A, when=when("b"))
    assert find_cycle([leads_in, replace(B, when=when("c")), replace(C, when=when("b"))]) == [
        "b", "c", "b",
    ]  # fmt: skip
    assert find_cycle([replace(A, when=when("a"))]) == ["a", "a"]
    assert find_cycle([replace(A, when=when("b")), B, C]) == []


def test_outside_says_what_is_inside() -> None:
    assert outside_problem(A, 2) is None
    assert outside_problem(Categorical("k", ("x", None, True)), "y") == (
        "'y' is not among its choices [x, null, true]"
    )
    assert outside_problem(IntRange("k", 1, 5, 2), 2) == (
        "2 is outside the searched range, whole numbers 1 to 5 in steps of 2"
    )
    assert outside_problem(IntRange("k", 1, 5), 2.0) == (
        "2.0 is outside the searched range, whole numbers 1 to 5"
    )
    assert (
        outside_problem(FloatRange("k", 0.0, 1.0), 1.5)
        == "1.5 is outside the searched range, 0.0 to 1.0"
    )
