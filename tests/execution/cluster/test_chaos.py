"""Workers and nodes that are killed at random moments, over a link that loses and changes bytes."""

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from harness.execution.cluster.messages import TaskInputs
from harness.execution.protocol import EpochReport, Event, TrialFailed, TrialFinished, WorkerDied
from tests.execution.cluster.links import FaultyLink
from tests.execution.cluster.nodes import kill_worker
from tests.execution.cluster.test_node_agent import MODULE, AgentDriver, no_waiting

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
# An attempt that is killed reports three epochs at most: 24 in all, and the rest is left.
EPOCHS, KILLS = 30, 8


class RandomFaults:
    """Loses 4 % of the calls and 4 % of the replies, and changes a bit in 4 % of the chunks."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def link(self, files: Any) -> FaultyLink:
        return FaultyLink(
            files, spoil_read=self.spoil, spoil_write=self.spoil, after_write=self.lose
        )

    def spoil(self, _: int, data: bytes) -> bytes:
        self.lose(0, None)
        if data and self._dice.random() < 0.04:
            index = self._dice.randrange(len(data))
            return data[:index] + bytes([data[index] ^ 4]) + data[index + 1 :]
        return data

    def lose(self, _: int, value: Any) -> Any:
        if self._dice.random() < 0.04:
            raise ConnectionResetError("lost")
        return value


@dataclass
class Kill:
    """A kill that is planned on the progress of an attempt, so that it always hits a training.

    Attributes:
        n_before: epochs that are answered before it; the next one waits for its answer until then.
        delay_s: from the last of these epochs, or from the start of the attempt.
    """

    kind: Literal["node", "worker"]
    n_before: int
    delay_s: float


def plan_kill(dice: random.Random) -> Kill:
    """Plan a kill anywhere in the start of the worker, or in the sending of its first epochs."""
    n_before, longest_s = dice.choice([(0, 0.6), (1, 0.1), (2, 0.1)])
    return Kill(dice.choice(["node", "worker"]), n_before, dice.uniform(0, longest_s))


def one_attempt(
    driver: AgentDriver, attempt: int, dice: random.Random, kill: Kill | None
) -> tuple[list[int], Event | None]:
    """Serve one attempt, with a kill in it.

    Returns:
        The epochs that were reported, and the last event; None if the node was killed.
    """
    agent = driver.agent(f"node{dice.randrange(3)}")
    agent.start(long_inputs(driver, attempt))
    epochs: list[int] = []
    began = time.monotonic()
    while True:
        is_due = kill is not None and len(epochs) >= kill.n_before
        if kill is not None and is_due and time.monotonic() > began + kill.delay_s:
            if kill.kind == "node":
                agent.close()
                return epochs, None
            kill_worker(MODULE)  # nobody there yet: again in a moment
        report = agent.next_report(0.02)
        if report is None or report.event is None:
            continue
        if isinstance(report.event, EpochReport):
            epochs.append(report.event.epoch)
            if kill is not None and len(epochs) > kill.n_before:
                continue  # without an answer the worker waits for its end
            time.sleep(dice.uniform(0.0, 0.05))
            agent.answer(0, "continue")
            began = time.monotonic()
        elif isinstance(report.event, WorkerDied | TrialFinished | TrialFailed):
            agent.close()
            return epochs, report.event


def long_inputs(driver: AgentDriver, attempt: int) -> TaskInputs:
    """Inputs of an attempt at a trial of `EPOCHS` epochs."""
    inputs = driver.inputs(attempt=attempt)
    train = inputs.task.config.train.model_copy(update={"epochs": EPOCHS})
    config = inputs.task.config.model_copy(update={"train": train})
    return inputs.model_copy(update={"task": inputs.task.model_copy(update={"config": config})})


@pytest.mark.parametrize("seed", range(5))
def test_curve_is_that_of_an_undisturbed_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """And no epoch that was reported is trained a second time."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))
    no_waiting(monkeypatch)
    dice = random.Random(seed)
    whole, driver = AgentDriver(tmp_path / "whole"), AgentDriver(tmp_path / "torn")
    one_attempt(whole, 1, dice, None)
    driver.link = RandomFaults(dice).link(driver.files)
    kills = [plan_kill(dice) for _ in range(KILLS)]
    reported: list[int] = []
    for attempt, kill in enumerate(kills, start=1):
        epochs, end = one_attempt(driver, attempt, dice, kill)
        reported += epochs
        assert end is None if kill.kind == "node" else isinstance(end, WorkerDied), end
    epochs, end = one_attempt(driver, KILLS + 1, dice, None)
    reported += epochs
    assert isinstance(end, TrialFinished), end
    assert driver.values() == whole.values() and len(driver.values()) == EPOCHS
    assert reported == sorted(set(reported)), "an epoch was trained twice"
    assert not list(driver.trial.root.rglob("*.tmp"))
