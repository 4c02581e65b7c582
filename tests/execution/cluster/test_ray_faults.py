"""Links that are slow or cut, disks that are full, and checkpoints that lie elsewhere."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.core.paths import TrialPaths
from tests.execution.cluster.machines import (
    RayMachines,
    ray_machines,
    reason_to_skip,
    without_package,
)
from tests.execution.cluster.plain import STUDY_ID
from tests.execution.cluster.ray_trials import (
    WORKER_MODULE,
    RayTrials,
    actor_processes,
    expected_values,
    ray_trials,
    values_of,
)
from tests.search.disks import fill, mounted

SKIP_REASON = reason_to_skip()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(SKIP_REASON is not None, reason=str(SKIP_REASON)),
]
EPOCHS = 30
MBYTE_PER_S = 0.5  # of the slow link


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayMachines]:
    """A controller with a small disk, and one node."""
    folder = tmp_path_factory.mktemp("faults")
    with mounted(folder / "disk", "8m") as disk, ray_machines(disk / "far") as machines:
        machines.add_node(1, host="n1")
        yield machines


@pytest.fixture
def folder(machines: RayMachines, request: pytest.FixtureRequest) -> str:
    """Folder of the trials of one test."""
    return str(request.node.name)


def tc(machines: RayMachines, *words: str) -> int:
    command = ["ip", "netns", "exec", machines.namespace, "tc", "qdisc", *words]
    return subprocess.run(command, capture_output=True, check=False).returncode


def at_epoch(trials: RayTrials, n_epochs: int) -> Any:
    return trials.wait(lambda: len(trials.of_kind("epoch")) >= n_epochs)


def test_slow_link_and_cut_link(machines: RayMachines, folder: str) -> None:
    slow = ["add", "dev", "lo", "root", "tbf", "rate", f"{8 * MBYTE_PER_S}mbit"]
    if tc(machines, *slow, "burst", "64kb", "latency", "2s"):
        pytest.skip("the kernel cannot slow a link down")
    with ray_trials(machines, folder, trials=1, epochs=EPOCHS, seed=5) as trials:
        line = trials.wait(lambda: trials.line("checkpoints of 0.2 MB from 1 worker over"))
        tc(machines, "del", "dev", "lo", "root")
        rate = re.search(r"over ([0-9.]+) MB/s: each is sent", line)
        assert rate is not None and float(rate[1]) < 4 * MBYTE_PER_S
        n_epochs = len(trials.of_kind("epoch"))
        for state, seconds in (("down", 6.0), ("up", 0.0)):
            link = ["ip", "-n", machines.namespace, "link", "set", "lo", state]
            subprocess.run(link, check=True)
            time.sleep(seconds)
        at_epoch(trials, n_epochs + 3)
        (actor,) = actor_processes(machines, "FilesActor")
        actor.suspend()
        time.sleep(3)
        actor.resume()
        trials.wait_for_end()
    assert trials.of_kind("vanished") == [] and values_of(trials, 0) == expected_values(EPOCHS)


def test_full_disk_of_the_controller_is_waited_for(machines: RayMachines, folder: str) -> None:
    disk = machines.workspace.parent
    with ray_trials(machines, folder, trials=1, epochs=EPOCHS, seed=5) as trials:
        at_epoch(trials, 3)
        ballast = fill(disk)
        while_training = trials.wait(lambda: trials.of_kind("failed"))[0]
        at_start = trials.wait(lambda: trials.of_kind("failed")[1:])[0]
        ballast.unlink()
        trials.wait_for_end()
    for event in (while_training, at_start):
        assert event["failure"]["cause"] == "disk_full", event
        assert Path(event["full_folder"]).is_relative_to(trials.folder), event
    assert "inputs" in at_start["failure"]["traceback"]
    assert values_of(trials, 0) == expected_values(EPOCHS)


def test_node_with_a_full_disk_is_left_out_after_three_trials(
    machines: RayMachines, folder: str
) -> None:
    scratch = machines.folder / "scratch"
    full = f"dd if=/dev/zero of={scratch}/ballast bs=1k 2>{machines.folder}/dd.log || true; "
    machines.add_node(1, host="full", scratch_mb=1, before=full)
    hide, variables = without_package(machines.folder)
    machines.add_node(1, host="bare", before=hide, **variables)
    with ray_trials(machines, folder, trials=4, epochs=12, seed=5, workers=3) as trials:
        assert trials.wait(lambda: trials.line("could not be started on node bare (127.0.0.1)"))
        trials.wait_for_end()
    line = trials.line("could not be started")
    assert line is not None and "No module named 'harness" in line
    failed = trials.of_kind("failed")
    assert len(failed) == 3 and all(event["failure"]["cause"] == "disk_full" for event in failed)
    assert all(event["full_folder"].startswith(f"full:{scratch}") for event in failed), failed
    assert all(event["failure"]["message"].startswith("full: [Errno 28]") for event in failed)
    lines = [line for line in trials.lines if "is left out" in line]
    assert lines == [
        "node full (127.0.0.1) is left out: 3 trials in a row failed there with the same cause "
        "(disk_full); the others continue"
    ]
    for number in sorted(machines.nodes)[-2:]:
        machines.kill_node(number)
    assert all(values_of(trials, n) == expected_values(12) for n in range(4))


def test_killed_controller_leaves_no_worker(machines: RayMachines, folder: str) -> None:
    with ray_trials(machines, folder, trials=1, epochs=1000, seed=5) as trials:
        at_epoch(trials, 2)
        assert len(machines.workers(module=WORKER_MODULE)) == 1
        trials.process.kill()
        trials.wait(lambda: not machines.workers(module=WORKER_MODULE))
        trials.wait(lambda: not actor_processes(machines, "FilesActor"))


def resumes_from_scratch(
    machines: RayMachines, folder: str, scratch: str, **variables: str
) -> None:
    """Kill the node of a trial whose checkpoints do not cross the link to the controller."""
    machines.add_node(1, host="n2", **variables)
    options: dict[str, Any] = {"trials": 1, "epochs": EPOCHS, "seed": 5, "scratch": scratch}
    with ray_trials(machines, folder, **options, variables=variables) as trials:
        at_epoch(trials, 6)
        busy = trials.hosts()[0]
        (number,) = (n for n in machines.nodes if machines.hosts[n] == busy)
        machines.kill_node(number)
        trials.wait_for_end()
    assert values_of(trials, 0) == expected_values(EPOCHS)
    epochs = [event["metrics"]["epoch"] for event in trials.of_kind("epoch")]
    assert len(epochs) - len(set(epochs)) <= 1, "what is in the scratch is not trained again"
    assert len({event["host"] for event in trials.of_kind("started")}) == 2
    names = {path.name for path in TrialPaths(trials.folder / "0000").root.iterdir()}
    assert "epochs.jsonl" in names and not names & {"checkpoint", "checkpoint.previous"}


def test_trial_is_continued_from_a_shared_folder(
    machines: RayMachines, folder: str, tmp_path: Path
) -> None:
    resumes_from_scratch(machines, folder, f"file://{tmp_path}/scratch")
    stored = sorted(path.suffix for path in (tmp_path / "scratch" / STUDY_ID / "0000").iterdir())
    assert stored == [".checkpoint", ".checkpoint", ".json", ".json"]


def test_trial_is_continued_from_a_bucket(machines: RayMachines, folder: str) -> None:
    """Of a local imitation of S3; nothing leaves this machine."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    server = machines.module("moto.server", "-H", "127.0.0.1", "-p", "5055")
    variables = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:5055",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for number in list(machines.nodes):
        machines.kill_node(number)
    machines.add_node(1, host="n3", **variables)
    try:
        resumes_from_scratch(machines, folder, "s3://bucket/harness", **variables)
    finally:
        server.kill()
        server.wait()
