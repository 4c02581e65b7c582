"""Nodes that are left out: after failures, while silent, and never the last one."""

import pytest

from harness.core.records import TrialFailure, TrialResult
from harness.execution.protocol import Event, TrialFailed, TrialFinished, WorkerDied

pytest.importorskip("ray")
from harness.execution.cluster.ray_executor import NO_SLOT_S, _WaitingNote
from harness.execution.cluster.ray_nodes import LOST_S, NodeRoster


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def roster(clock: Clock, lines: list[str]) -> NodeRoster:
    roster = NodeRoster(lines.append, clock)
    roster.update(["a", "b"])
    return roster


def test_wait_is_told_once_for_each_capacity(clock: Clock) -> None:
    note = _WaitingNote(clock)

    def told(seconds: float, capacity: int | None) -> bool:
        clock.now += seconds
        return note.is_due(capacity)

    assert not told(0, 0) and not told(NO_SLOT_S, 0)
    assert told(1, 0) and not told(100, 0)
    assert not told(1, 2), "a node has joined, and its agent starts"
    assert not told(NO_SLOT_S, 2) and told(1, 2)
    assert not told(1, None) and not told(100, 2), "there was an agent"
    assert told(NO_SLOT_S + 1, 2)


def failed(cause: str) -> Event:
    return TrialFailed(number=1, attempt=1, failure=TrialFailure(cause=cause, message="m"))


FINISHED = TrialFinished(
    number=1,
    attempt=1,
    result=TrialResult(outcome="complete", value=0.1, best_epoch=1, best={}, costs={}),
)
DIED = WorkerDied(number=1, attempt=1, exit_code=-9, log_tail="")


def test_three_equal_failures_leave_a_node_out_with_one_line(
    roster: NodeRoster, lines: list[str]
) -> None:
    for event in (failed("crashed"), DIED):
        roster.note_event("a", "gpu1 (10.0.0.2)", event)
    assert roster.excluded() == frozenset() and lines == []
    for _ in range(2):
        roster.note_event("a", "gpu1 (10.0.0.2)", DIED)
    assert roster.excluded() == {"a"} and roster.is_left_out("a")
    assert lines == [
        "node gpu1 (10.0.0.2) is left out: 3 trials in a row failed there with the same cause "
        "(crashed); the others continue"
    ]


@pytest.mark.parametrize("between", [FINISHED, failed("disk_full")])
def test_other_ends_interrupt_the_row(roster: NodeRoster, between: Event) -> None:
    for event in (DIED, DIED, between, DIED, DIED):
        roster.note_event("a", "a", event)
    assert roster.excluded() == frozenset()


def test_failures_of_the_configuration_do_not_count(roster: NodeRoster, lines: list[str]) -> None:
    for _ in range(5):
        roster.note_event("a", "a", failed("diverged"))
    assert roster.excluded() == frozenset() and lines == []


def test_the_last_node_is_never_left_out(roster: NodeRoster, lines: list[str]) -> None:
    for node in ("a", "b"):
        for _ in range(4):
            roster.note_event(node, node, DIED)
    assert roster.excluded() == {"a"} and len(lines) == 1


def test_silent_node_is_used_again_after_some_time_or_once_it_is_new(
    roster: NodeRoster, clock: Clock
) -> None:
    roster.note_lost("a")
    roster.note_lost("b")
    roster.update(["b"])
    assert roster.excluded() == {"b"}, "Ray has removed a from its table"
    clock.now = LOST_S + 1
    assert roster.excluded() == frozenset()
