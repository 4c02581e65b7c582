"""Agents on nodes that come, go, share GPUs and announce their end."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.execution.cluster.machines import RayMachines, ray_machines, reason_to_skip
from tests.execution.cluster.ray_trials import (
    actor_processes,
    expected_values,
    ray_trials,
    values_of,
)

SKIP_REASON = reason_to_skip()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(SKIP_REASON is not None, reason=str(SKIP_REASON)),
]
EPOCHS = 150  # at four a second: long enough for two nodes to start meanwhile


def node_ids(machines: RayMachines) -> dict[str, str]:
    """Ray's ids of the living nodes, by host."""
    code = (
        "import ray; ray.init(address='127.0.0.1:6379', log_to_driver=False, logging_level=50);"
        "[print('id', n['NodeManagerHostname'], n['NodeID']) for n in ray.nodes() if n['Alive']]"
    )
    lines = machines.python(code).splitlines()
    return {line.split()[1]: line.split()[2] for line in lines if line.startswith("id ")}


def drain(machines: RayMachines, node_id: str) -> str:
    """Announce the end of a node, as an autoscaler does."""
    ray = Path(sys.executable).with_name("ray")
    words = ["drain-node", "--address=127.0.0.1:6379", f"--node-id={node_id}"]
    words += ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot"]
    words += ["--deadline-remaining-seconds=60"]
    command = ["ip", "netns", "exec", machines.namespace, str(ray), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def test_nodes_come_share_their_gpu_and_go(tmp_path: Path) -> None:
    with (
        ray_machines(tmp_path / "far") as machines,
        ray_trials(
            machines, trials=4, epochs=EPOCHS, seed=5, workers=None, gpus_per_trial=0.5
        ) as trials,
    ):
        machines.add_node(2, gpus=1, host="n1")
        first_two = sorted(trials.wait(lambda: len(trials.hosts()) == 2 and trials.hosts()))
        machines.add_node(3, gpus=1, host="n2")
        trials.wait(lambda: len(trials.hosts()) == 4)
        assert sorted(trials.hosts().values()) == ["n1", "n1", "n2", "n2"], trials.story()
        assert {event["device"] for event in trials.of_kind("started")} == {"cuda 0"}
        (files_actor,) = actor_processes(machines, "FilesActor")
        files_actor.kill()
        n_epochs = len(trials.of_kind("epoch"))
        trials.wait(lambda: len(trials.of_kind("epoch")) > n_epochs + 8)
        assert actor_processes(machines, "FilesActor") != [files_actor]
        drain(machines, node_ids(machines)["n1"])
        trials.wait(lambda: trials.line("n1 (127.0.0.1) will be removed: its trials are saved"))
        trials.wait(lambda: len(trials.of_kind("vanished")) == 2)
        machines.add_node(2, gpus=1, host="n3")
        trials.wait_for_end()
        started = [(e["number"], e["attempt"], e["host"]) for e in trials.of_kind("started")]
        moved = sorted((number, attempt) for number, attempt, host in started[4:] if host != "n1")
        assert moved == [(number, 2) for number in first_two], started
        for number in range(4):
            assert values_of(trials, number) == expected_values(EPOCHS)
        epochs = [(e["number"], e["metrics"]["epoch"]) for e in trials.of_kind("epoch")]
        assert len(epochs) == len(set(epochs)), "nothing is trained twice"
