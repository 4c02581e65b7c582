import pytest

from harness.errors import ConfigError
from harness.space.problems import MOST, Problems


def test_problems_are_raised_together_in_order_of_lines() -> None:
    lines = {("b", "x"): 7, ("a",): 2}
    problems = Problems("s.yaml", lambda spot: lines[spot])
    problems.add(("b", "x"), "second", name="optim.lr", breaks=["optim.lr"])
    problems.add(("a",), "first")
    with pytest.raises(ConfigError) as caught:
        problems.raise_any()
    assert caught.value.problems == ["s.yaml:2: a: first", "s.yaml:7: optim.lr: second"]
    assert problems and problems.broken == {"optim.lr"}


def test_without_lines_the_place_stands_alone() -> None:
    problems = Problems("--set")
    problems.add(("optim.lr",), "wrong")
    with pytest.raises(ConfigError, match=r"^--set: optim.lr: wrong$"):
        problems.raise_any()


def test_nothing_is_raised_where_nothing_is_wrong() -> None:
    Problems("s.yaml").raise_any()
    assert not Problems("s.yaml")


def test_a_flood_ends_the_reading() -> None:
    problems = Problems("s.yaml")
    for i in range(MOST):
        problems.add((i,), "wrong")
    with pytest.raises(ConfigError) as caught:
        problems.add((MOST,), "wrong")
    assert len(caught.value.problems) == MOST + 1
    assert caught.value.problems[-1] == "s.yaml: and more; the rest was not read"
