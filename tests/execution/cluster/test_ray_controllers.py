"""Controllers of a study on a Ray cluster: killed, several at once, and without their database."""

import os
import signal
import time
from pathlib import Path

import pytest
from optuna import load_study
from optuna.storages import RDBStorage

from harness.core.records import read_records
from tests.execution.cluster.chaos import (
    CLUSTER,
    GATE,
    epoch_lines,
    local_study,
    results_of,
    study_of,
    write_space,
)
from tests.execution.cluster.machines import ray_machines, reason_to_skip
from tests.postgres import PostgresServer, postgres_server

SKIP_REASON = reason_to_skip()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(SKIP_REASON is not None, reason=str(SKIP_REASON)),
]
CONTROLLERS = 8


def test_killed_controller_is_continued_with_the_same_number_of_trials(tmp_path: Path) -> None:
    options = write_space(tmp_path / "space", 8, seconds=0.03)
    workspace = tmp_path / "far"
    words = ("--trials", "3", "--workspace", str(workspace), "--workers", "2", *CLUSTER)
    with ray_machines(workspace, nodes=2) as machines:
        paths = study_of(workspace)
        for kill in range(5):
            process = machines.command(*options, *words)
            n_before, end = len(epoch_lines(paths)), time.monotonic() + 300
            while len(epoch_lines(paths)) < n_before + 2 and time.monotonic() < end:
                assert process.poll() is None or kill, process.communicate()
                if process.poll() is not None:
                    break
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        code, output = machines.run(*options, *words)
        assert code == 0, output
    assert len(read_records(paths)) == 3
    assert results_of(paths) == local_study(epochs=8, trials=4).results[:3]


def test_one_of_eight_controllers_leads_and_seven_say_so(tmp_path: Path) -> None:
    options = write_space(tmp_path / "space", 8)
    workspace = tmp_path / "far"
    words = ("--trials", "2", "--workspace", str(workspace), *CLUSTER)
    gate = tmp_path / "space" / GATE
    gate.touch()  # no trial ends before all have been refused but one
    with ray_machines(workspace, nodes=1) as machines:
        started = [machines.command(*options, *words) for _ in range(CONTROLLERS)]
        end = time.monotonic() + 400
        while sum(process.poll() is None for process in started) > 1 and time.monotonic() < end:
            time.sleep(0.2)
        gate.unlink()
        outputs = [process.communicate(timeout=400)[0] for process in started]
    codes = [process.returncode for process in started]
    assert sorted(codes) == [0, *[2] * (CONTROLLERS - 1)], "\n".join(outputs)
    (leader,) = (process.pid for process in started if process.returncode == 0)
    for process, output in zip(started, outputs, strict=True):
        sentences = [line for line in output.splitlines() if "is already running" in line]
        if process.pid == leader:
            assert sentences == []
        else:
            assert output.splitlines()[-1:] == sentences, output
            assert f"study s is already running (process {leader} on " in sentences[0]
    assert results_of(study_of(workspace)) == local_study(epochs=8, trials=4).results[:2]


def test_hard_restarts_of_postgresql_change_no_number(tmp_path: Path) -> None:
    """The command ends if it needs the database meanwhile; the same command continues then."""
    options = write_space(tmp_path / "space", 8, seconds=0.05)
    workspace = tmp_path / "far"
    paths = study_of(workspace)
    with postgres_server() as server, ray_machines(workspace, nodes=2) as machines:
        words = ("--trials", "4", "--workspace", str(workspace), "--workers", "2", *CLUSTER)
        words = (*words, "--storage", server.uri)
        for n_epochs, restart in ((4, _stop_immediately), (14, PostgresServer.kill)):
            process = machines.command(*options, *words)
            end = time.monotonic() + 400
            while len(epoch_lines(paths)) < n_epochs and time.monotonic() < end:
                assert process.poll() is None, process.communicate()
                time.sleep(0.05)
            restart(server)
            output, _ = process.communicate(timeout=400)
            assert process.returncode == 1 and "the same command continues once" in output, output
            assert len(epoch_lines(paths)) < 32, "it was restarted in the middle"
            server.start_again()
        code, output = machines.run(*options, *words)
        assert code == 0, output
        storage = RDBStorage(server.uri)
        rows = load_study(study_name="s", storage=storage).get_trials()
        storage.remove_session()
        storage.engine.dispose()
    expected = local_study(epochs=8, trials=4).results
    assert results_of(paths) == expected and len(expected) == 4
    assert [row.params for row in rows] == [row["params"] for row in expected]
    assert [row.value for row in rows] == [row["value"] for row in expected]


def _stop_immediately(server: PostgresServer) -> None:
    server.control("stop", "-m", "immediate")
