"""A slot whose agent cannot be started."""

from types import SimpleNamespace
from typing import Any

import pytest

from harness.execution.cluster.ray_nodes import NodeRoster

pytest.importorskip("ray")
from ray.exceptions import RayError

from harness.execution.cluster.ray_cluster import ClusterNode
from harness.execution.cluster.ray_slot import RaySlot

NODE = ClusterNode("a", "gpu1", "10.0.0.2")


def lines_of_lost_start(node_of: Any) -> tuple[list[str], frozenset[str]]:
    """What the user is told, and the nodes that get no trials, after an agent did not start."""
    lines: list[str] = []
    roster = NodeRoster(lines.append)
    roster.update(["a", "b"])
    closing = SimpleNamespace(wait=lambda seconds: False)
    owner: Any = SimpleNamespace(
        cluster=SimpleNamespace(node_of=node_of),
        roster=roster,
        closing=closing,
        say_once=lines.append,
    )
    error = RayError("the actor died\nModuleNotFoundError: No module named 'harness'")
    RaySlot(owner, 0)._lose_agent(error)
    return lines, roster.excluded()


def test_node_without_the_package_is_named_and_left_alone_for_some_time() -> None:
    lines, excluded = lines_of_lost_start(lambda actor: NODE)
    assert excluded == {"a"}
    assert lines == [
        "an agent could not be started on node gpu1 (10.0.0.2): ModuleNotFoundError: No module "
        "named 'harness'"
    ]


def test_lost_head_does_not_end_the_slot() -> None:
    def fail(actor: Any) -> Any:
        raise ConnectionError("no head")

    lines, excluded = lines_of_lost_start(fail)
    assert excluded == frozenset() and len(lines) == 1
    assert lines[0].startswith("an agent could not be started: ModuleNotFoundError")
