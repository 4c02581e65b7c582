"""A PostgreSQL server of our own, which tests may stop and kill."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

START_S = 30.0


@dataclass
class PostgresServer:
    """A server on a socket in a folder. It cannot be run by root."""

    programs: Path
    root: Path
    user: str | None

    @property
    def uri(self) -> str:
        return f"postgresql+psycopg://harness@/postgres?host={self.root}"

    def control(self, *words: str) -> None:
        log = self.root / "log"
        options = f"-k {self.root} -c listen_addresses="
        command = [self.programs / "pg_ctl", "-D", self.root / "d", "-w", "-l", log, "-o", options]
        subprocess.run([*command, *words], check=True, user=self.user, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """End the first process of the server by SIGKILL; the others notice and end."""
        first_line = (self.root / "d" / "postmaster.pid").read_text(encoding="ascii").split()[0]
        os.kill(int(first_line), signal.SIGKILL)

    def start_again(self) -> None:
        """Start after a kill, once the processes of the dead server have ended."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                return self.control("start")
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Start a server for the time of the block; skip the test where there is none."""
    pytest.importorskip("psycopg")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    programs = shutil.which("initdb")
    if not (programs or found):
        pytest.skip("PostgreSQL is not installed")
    folder = Path("/tmp") / f"harness-postgres-{os.getpid()}"  # sockets need short paths
    folder.mkdir()
    user = None
    if os.getuid() == 0:
        user = "postgres"
        shutil.chown(folder, user)
    server = PostgresServer(Path(programs).parent if programs else found[-1], folder, user)
    make = [server.programs / "initdb", "-D", folder / "d", "-U", "harness", "-A", "trust"]
    subprocess.run(make, check=True, user=user, stdout=subprocess.DEVNULL)
    server.control("start")
    try:
        yield server
    finally:
        server.control("stop", "-m", "immediate")
        shutil.rmtree(folder)
