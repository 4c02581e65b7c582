import pytest

from harness.core.errors import ConfigError
from harness.space.reading.problems import MAX_PROBLEMS, ProblemCollector


def test_problems_are_raised_together_in_order_of_lines() -> None:
    lines = {("b", "x"): 7, ("a",): 2}
    problems = ProblemCollector("s.yaml", lambda spot: lines[spot])
    problems.add(("b", "x"), "second", name="optim.lr", unreadable_keys=["optim.lr"])
    problems.add(("a",), "first")
    with pytest.raises(ConfigError) as caught:
        problems.raise_any()
    assert caught.value.problems == ["s.yaml:2: a: first", "s.yaml:7: optim.lr: second"]
    assert problems and problems.unreadable_keys == {"optim.lr"}


def test_without_lines_the_place_stands_alone() -> None:
    problems = ProblemCollector("--set")
    problems.add(("optim.lr",), "wrong")
    with pytest.raises(ConfigError, match=r"^--set: optim.lr: wrong$"):
        problems.raise_any()


def test_nothing_is_raised_where_nothing_is_wrong() -> None:
    ProblemCollector("s.yaml").raise_any()
    assert not ProblemCollector("s.yaml")


def test_a_flood_ends_the_reading() -> None:
    problems = ProblemCollector("s.yaml")
    for i in range(MAX_PROBLEMS):
        problems.add((i,), "wrong")
    with pytest.raises(ConfigError) as caught:
        problems.add((MAX_PROBLEMS,), "wrong")
    assert len(caught.value.problems) == MAX_PROBLEMS + 1
    assert caught.value.problems[-1] == "s.yaml: more problems follow; the rest was not read"
