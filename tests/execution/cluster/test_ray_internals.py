"""The private calls of Ray: present in the tested version, and their absence is told once."""

from types import SimpleNamespace

import pytest

pytest.importorskip("ray")
from ray._private import state

from harness.execution.cluster.ray_internals import RayInternals

ACTOR = SimpleNamespace(_actor_id=bytes([10, 11]))


def test_installed_version_has_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(state.state.get_draining_nodes) and callable(state.state.actor_table)
    monkeypatch.setattr(state.state, "get_draining_nodes", lambda: {"a": 0, "b": 17})
    table = {"0a0b": {"Address": {"NodeID": "a"}}}
    monkeypatch.setattr(state.state, "actor_table", table.get)
    lines: list[str] = []
    internals = RayInternals(lines.append)
    assert internals.draining_nodes() == {"a", "b"} and lines == []
    assert internals.node_id_of(ACTOR) == "a"
    assert internals.node_id_of(SimpleNamespace(_actor_id=b"?")) == ""


def test_version_without_the_calls_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(type(state.state), "get_draining_nodes")
    monkeypatch.delattr(type(state.state), "actor_table")
    lines: list[str] = []
    internals = RayInternals(lines.append)
    assert internals.draining_nodes() == set() and internals.draining_nodes() == set()
    assert internals.node_id_of(ACTOR) == internals.node_id_of(ACTOR) == ""
    assert len(lines) == 2 and "does not tell which nodes" in lines[0]
