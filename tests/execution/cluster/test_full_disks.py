"""Disks that are really full, of the controller and of a node."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.execution.protocol import TrialFailed, TrialFinished
from tests.execution.cluster.nodes import drive
from tests.execution.cluster.test_node_agent import AgentDriver
from tests.search.disks import fill, mounted


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))
    with mounted(tmp_path / "disk", "3m") as disk:
        yield disk


def undisturbed_values(root: Path) -> list[float]:
    root.mkdir()
    whole = AgentDriver(root)
    agent = whole.agent()
    agent.start(whole.inputs())
    drive(agent, 0)
    agent.close()
    return whole.values()


def test_disk_of_the_controller_fills_between_two_epochs(disk: Path, tmp_path: Path) -> None:
    driver = AgentDriver(disk)
    agent = driver.agent(str(tmp_path / "node"))
    ballast: list[Path] = []

    def on_epoch(epoch: int) -> Any:
        if epoch == 2:
            ballast.append(fill(disk))
        return "continue"

    try:
        agent.start(driver.inputs())
        event = drive(agent, 0, on_epoch)[-1]
        assert isinstance(event, TrialFailed) and event.failure.cause == "disk_full"
        assert event.full_folder == driver.trial.root
        assert len(driver.values()) == 2, "what had arrived is as it was"
        ballast[0].unlink()
        agent.start(driver.inputs(attempt=2))
        assert isinstance(drive(agent, 0)[-1], TrialFinished)
        assert driver.values() == undisturbed_values(tmp_path / "whole")
    finally:
        agent.close()


def test_disk_of_a_node_is_full_before_the_training(disk: Path, tmp_path: Path) -> None:
    driver = AgentDriver(tmp_path)
    agent = driver.agent(str(disk))
    ballast = fill(disk)
    try:
        agent.start(driver.inputs())
        (event,) = drive(agent, 0)
        assert isinstance(event, TrialFailed) and event.failure.cause == "disk_full"
        host = socket.gethostname()
        assert str(event.full_folder).startswith(f"{host}:{disk}")
        assert event.failure.message.startswith(f"{host}: [Errno 28] No space left on device")
        ballast.unlink()
        agent.start(driver.inputs(attempt=2))
        assert isinstance(drive(agent, 0)[-1], TrialFinished)
    finally:
        agent.close()
