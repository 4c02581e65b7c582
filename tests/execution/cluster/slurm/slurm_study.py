"""A study on a Slurm of one machine: its command, its jobs, and its files, seen from outside."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil

from harness.core.records import read_epochs
from tests.execution.cluster.chaos import study_of, write_space

WAIT_S = 240.0  # for anything, on a machine that others use
# Slow until the test opens the gate: what it does to jobs then finds them in a training, however
# fast the machine is. Torch is imported late, so that the controller can do without it.
NETWORK = """\
import time
from pathlib import Path

from harness import parts

GATE = Path({gate!r})


@parts.network()
def dot(in_channels: int, classes: int):
    from torch import nn

    class Slow(nn.Module):
        def forward(self, images):
            time.sleep(0 if GATE.exists() else 0.25)
            return images

    layers = nn.Conv2d(in_channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, classes, 1)
    return nn.Sequential(Slow(), *layers)
"""
Result = TypeVar("Result")


def write_gated_space(folder: Path, epochs: int) -> tuple[list[str], Path]:
    """Options of a study whose epochs last seconds until the returned file exists."""
    options, gate = write_space(folder, epochs), folder / "gate"
    (folder / "mine.py").write_text(NETWORK.format(gate=str(gate)), encoding="utf-8")
    return options, gate


def wait_for(condition: Callable[[], Result], text: Callable[[], str] = lambda: "") -> Result:
    end = time.monotonic() + WAIT_S
    while not (result := condition()):
        assert time.monotonic() < end, text()
        time.sleep(0.2)
    return result


class WatchedCommand:
    """A command whose process is watched until it ends.

    Attributes:
        peak: largest resident memory of its own process, bytes (VmHWM).
        cpu_s: processor time of its own process.
        libraries: paths of the files that its process has mapped.
        listeners: ports on which its process listened.
    """

    def __init__(self, environment: Mapping[str, str], log: Path, *words: str) -> None:
        self.log, self.peak, self.cpu_s = log, 0, 0.0
        self.libraries: set[str] = set()
        self.listeners: set[int] = set()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "harness", *words],
                env=dict(environment),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait(self) -> int:
        """Exit code; raises AssertionError if it never ends."""
        wait_for(self._has_ended, lambda: self.output)
        return self.process.returncode

    def wait_for_line(self, text: str) -> None:
        wait_for(lambda: text in self.output or self._has_ended(), lambda: self.output)
        assert text in self.output, self.output

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _has_ended(self) -> bool:
        with suppress(psutil.Error, OSError):
            own = psutil.Process(self.process.pid)
            status = Path(f"/proc/{own.pid}/status").read_text(encoding="ascii")
            peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
            self.peak = max([self.peak, *(1024 * int(kib) for kib in peaks)])
            self.cpu_s = max(self.cpu_s, sum(own.cpu_times()[:2]))
            self.libraries |= {file.path for file in own.memory_maps() if ".so" in file.path}
            self.listeners |= set(listening_ports([own]))
        return self.process.poll() is not None


def run_command(environment: Mapping[str, str], log: Path, *words: str) -> str:
    """Output of a command that must succeed."""
    command = WatchedCommand(environment, log, *words)
    assert command.wait() == 0, command.output
    return command.output


def slurm_words(environment: Mapping[str, str], *words: str) -> str:
    """Output of a command of Slurm."""
    done = subprocess.run(words, env=dict(environment), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def states(environment: Mapping[str, str]) -> dict[str, str]:
    """State of each job that Slurm has not forgotten, by id."""
    output = slurm_words(environment, "squeue", "--noheader", "--array", "--format=%i|%T")
    return dict(line.split("|") for line in output.splitlines())


def wait_for_no_jobs(environment: Mapping[str, str]) -> None:
    wait_for(lambda: not states(environment), lambda: str(states(environment)))


def n_epochs(workspace: Path, number: int) -> int:
    trial = study_of(workspace).trial(number)
    return len(read_epochs(trial)) if trial.epochs_jsonl.exists() else 0


def job_processes(configuration: Path) -> list[psutil.Process]:
    """Processes of jobs: the nodes, and their workers."""
    nodes = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "harness.execution.cluster.slurm.node" in process.cmdline() and (
                process.environ().get("SLURM_CONF") == str(configuration)
            ):
                nodes.append(process)
    return nodes + [child for node in nodes for child in node.children(recursive=True)]


def listening_ports(processes: Iterable[psutil.Process]) -> list[int]:
    return [
        connection.laddr.port
        for process in processes
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]


def files_with(secret: str, *folders: Path) -> tuple[int, list[Path]]:
    """Number of readable files below the folders, and those that contain the secret."""
    n_files, found = 0, []
    for folder in folders:
        for path in folder.rglob("*"):
            with suppress(OSError):  # Slurm removes its files at any time
                if path.is_file() and not path.is_symlink():
                    n_files += 1
                    found += [path] if secret.encode() in path.read_bytes() else []
    return n_files, found
