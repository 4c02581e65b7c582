"""Studies on a Ray cluster whose nodes see nothing of the workspace."""

import signal
import socket
import time
from pathlib import Path

import pytest

from harness.core.records import read_record
from tests.execution.cluster.chaos import (
    CLUSTER,
    epoch_lines,
    local_study,
    measure_failover,
    results_of,
    run_locally,
    run_with_kills,
    seconds_to_next_epoch,
    study_of,
    write_space,
)
from tests.execution.cluster.machines import ray_machines, reason_to_skip

SKIP_REASON = reason_to_skip()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(SKIP_REASON is not None, reason=str(SKIP_REASON)),
]


@pytest.mark.smoke
def test_study_on_two_nodes_equals_the_local_one(tmp_path: Path) -> None:
    options = write_space(tmp_path / "space", epochs=3)
    workspace = tmp_path / "far"
    secret = "swordfish-4711"
    with ray_machines(workspace, nodes=2) as machines:
        words = ("--trials", "4", "--workspace", str(workspace), "--workers", "2", *CLUSTER)
        code, output = machines.run(*options, *words, AWS_SECRET_ACCESS_KEY=secret, MY_TOKEN=secret)
        assert code == 0, output
        logs = [*machines.folder.rglob("*.log"), *machines.folder.rglob("*.out")]
        logs += machines.folder.rglob("*.err")
        texts = [path.read_bytes() for path in logs if path.is_file()]
        texts += [path.read_bytes() for path in workspace.rglob("*") if path.is_file()]
        assert len(texts) > 50 and not any(secret.encode() in text for text in texts)
    paths, expected = study_of(workspace), run_locally(tmp_path / "local", options, 4)
    assert results_of(paths) == expected
    assert len(expected) == 4 and all(len(row["curve"]) == 3 for row in expected)
    record = read_record(paths.trial(0).trial_json)
    assert (record.host, record.device, record.attempt) == (socket.gethostname(), "cpu", 1)
    best = sorted(p.name for p in (paths.trial(0).root / "best").iterdir())
    local_best = study_of(tmp_path / "local").trial(0).root / "best"
    assert best == sorted(p.name for p in local_best.iterdir()) and "scores.csv" in best
    assert "2 workers with 1 CPU each on Ray at 127.0.0.1:6379" in output
    assert secret not in output and not list(paths.root.rglob(".shared-probe*"))


@pytest.mark.smoke
def test_trial_of_a_dead_and_of_a_silent_node_goes_on_elsewhere(tmp_path: Path) -> None:
    """The seconds that it takes are measured by benchmarks/cluster_chaos.py."""
    options = write_space(tmp_path / "space", 1000, seconds=0.05)
    workspace = tmp_path / "far"
    with ray_machines(workspace, nodes=3) as machines:
        failover = measure_failover(machines, options)
    numbers = [line["epoch"] for line in epoch_lines(study_of(workspace))]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1)), "no epoch is missing"
    assert len(numbers) - len(set(numbers)) <= 2, "each kill costs one epoch at most"
    assert "has lost its agent: trial 0 continues" in failover.output
    assert "has not answered for 25 s: trial 0 continues" in failover.output
    record = read_record(study_of(workspace).trial(0).trial_json)
    assert record.state == "running" and record.attempt == 3, failover.output
    assert failover.exit_code == 143, failover.output


@pytest.mark.smoke
def test_kills_of_nodes_and_workers_change_no_number(tmp_path: Path) -> None:
    options = write_space(tmp_path / "space", 8, seconds=0.04)
    with ray_machines(tmp_path / "far", nodes=2) as machines:
        report = run_with_kills(
            machines, options, trials=4, epochs=8, node_kills=1, worker_kills=4, seed=3
        )
        assert report.exit_code == 0, report.output
        assert (report.node_kills, report.worker_kills) == (1, 4)
    local = local_study(epochs=8, trials=4)
    assert report.results == local.results
    assert report.repeated(local.passes, 4 * 8) <= 5, "each kill costs one epoch at most"


def test_lost_head_ends_the_command_and_the_next_one_continues(tmp_path: Path) -> None:
    options = write_space(tmp_path / "space", 8, seconds=0.2)
    workspace = tmp_path / "far"
    words = ("--trials", "1", "--workspace", str(workspace), *CLUSTER)
    paths = study_of(workspace)
    with ray_machines(workspace, nodes=1) as machines:
        process = machines.command(*options, *words)
        seconds_to_next_epoch(paths, 0, time.time(), 180)
        for part in machines.head_tree():
            part.send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=400)
        assert process.returncode != 0, output
        assert read_record(paths.trial(0).trial_json).state == "running"
    with ray_machines(workspace, nodes=1) as machines:
        code, output = machines.run(*options, *words)
        assert code == 0, output
    assert results_of(paths) == local_study(epochs=8, trials=4).results[:1]
