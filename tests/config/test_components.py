"""The registry of networks, losses and metrics."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from harness.config import components
from harness.config.data import StudyDataConfig
from harness.config.study import ModelConfig, TrialConfig
from harness.core.errors import ConfigError
from harness.models.build import build_network
from harness.training.loss.combined_loss import build_training_loss


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(components, "_COMPONENTS", dict(components._COMPONENTS))
    return


def soft(logits: Any, target: Any, *, width: int = 3, mode: str | None = None) -> float:
    return 0.0


def test_a_part_is_found_by_its_name_with_its_options() -> None:
    assert components.loss(tasks=("binary",))(soft) is soft
    found = components.find_component("loss", "soft")
    assert (found.build, found.tasks, list(found.options)) == (soft, ("binary",), ["width", "mode"])
    assert found.origin == __file__
    with pytest.raises(ConfigError, match=r"unknown loss 'sotf'; did you mean soft\?"):
        components.find_component("loss", "sotf")
    with pytest.raises(ConfigError, match="unknown metric 'soft'"):
        components.find_component("metric", "soft")


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("width", 5, None),
        ("mode", None, None),
        ("width", "5", "should be a valid integer .got '5'"),
        ("width", True, "should be a valid integer"),
        ("widht", 5, "unknown option of soft; did you mean width"),
        ("logits", 5, "unknown option of soft"),
    ],
)
def test_an_option_is_checked_against_the_signature(
    option: str, value: Any, problem: str | None
) -> None:
    components.loss()(soft)
    found = components.find_component("loss", "soft").option_problem(option, value)
    if problem is None:
        assert found is None
    else:
        assert found is not None
        assert problem.rstrip(".") in found.replace("(got", ".got")


def test_a_network_takes_what_it_names() -> None:
    @components.network("tiny")
    class Tiny:
        def __init__(self, in_channels: int, classes: int, width: int = 8) -> None: ...

    tiny = components.find_component("network", "tiny")
    assert list(tiny.options) == ["width"]
    assert tiny.accepts("classes")
    assert not tiny.accepts("encoder_name")


def no_target(logits: Any) -> float:
    return 0.0


def endless(logits: Any, target: Any, **more: int) -> float:
    return 0.0


def no_default(logits: Any, target: Any, width: int) -> float:
    return 0.0


def odd(logits: Any, target: Any, width: "Nonsense" = 1) -> float:  # type: ignore[name-defined] # noqa: F821
    return 0.0


@pytest.mark.parametrize(
    ("build", "name", "problem"),
    [
        (no_target, None, "must have the argument target"),
        (endless, None, r"has \*more; declare each option"),
        (no_default, None, "option width needs a default"),
        (odd, None, "its signature cannot be read .*Nonsense"),
        (soft, "a b", "a name is a letter"),
    ],
)
def test_what_cannot_be_checked_is_refused(build: Any, name: str | None, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        components.loss(name)(build)


def test_a_name_belongs_to_one_place() -> None:
    components.loss("soft", origin="one.py")(soft)
    components.loss("soft", origin="one.py")(soft)  # read again, e.g. by a second study
    message = r"two\.py: loss 'soft': the name is already registered by one\.py; choose another"
    with pytest.raises(ConfigError, match=message):
        components.loss("soft", origin="two.py")(soft)


def test_a_list_stands_for_a_tuple_and_the_part_is_given_one() -> None:
    def wide(
        logits: Any,
        target: Any,
        *,
        sides: tuple[int, ...] = (3,),
        steps: list[tuple[float, float]] = [],  # noqa: B006
        plain: list[int] = [],  # noqa: B006
        free=None,  # type: ignore[no-untyped-def]
    ) -> float:
        return 0.0

    components.loss()(wide)
    part = components.find_component("loss", "wide")
    given = {"sides": [1, 2], "steps": [[0.5, 1]], "plain": [4], "free": [5]}
    assert [part.option_problem(name, one) for name, one in given.items()] == [None] * 4
    assert part.coerce_options(given) == {
        "sides": (1, 2), "steps": [(0.5, 1.0)], "plain": [4], "free": [5]
    }  # fmt: skip
    for wrong in ([1, "2"], [1, True], 3, "12", [1.5]):
        assert part.option_problem("sides", wrong) is not None
    assert part.option_problem("sides", 3) == "input should be a list (got 3)"


def test_network_and_loss_are_handed_the_tuple() -> None:
    seen: list[Any] = []

    def net(in_channels: int, classes: int, *, sides: tuple[int, ...] = ()) -> nn.Module:
        seen.append(sides)
        return nn.Conv2d(in_channels, classes, 1)

    def wide(logits: Any, target: Any, *, sides: tuple[int, ...] = ()) -> Any:
        seen.append(sides)
        return logits.sum()

    components.network()(net)
    components.loss()(wide)
    build_network(ModelConfig(arch="net", options={"sides": [1, 2]}), classes=1)
    config = TrialConfig.from_flat({"loss.wide": 1.0, "loss.wide_sides": [3, 4]})
    build_training_loss(config.loss, StudyDataConfig())(
        torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2)
    )
    assert seen == [(1, 2), (3, 4)]
