"""Operations on studies in PostgreSQL and on an MLflow server, killed and completed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import postgres_server
from tests.search.mirroring import serving


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_operation_on_servers_killed_at_ten_steps_is_completed(tmp_path: Path) -> None:
    with postgres_server() as postgres, serving(tmp_path / "server") as server:
        server.start()
        arguments = [str(tmp_path / "w"), "10", postgres.uri, server.uri]
        done = subprocess.run(
            [sys.executable, "-m", "tests.maintenance.server_killing", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-6000:]
    n_steps = dict(line.split() for line in done.stdout.splitlines())
    assert set(n_steps) == {"rename", "delete", "restore"}
    assert min(map(int, n_steps.values())) > 10
