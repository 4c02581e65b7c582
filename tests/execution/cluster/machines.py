"""A Ray cluster on one machine: a network namespace, and nodes that do not see the workspace."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

ROOT = Path(__file__).resolve().parents[3]
IMPORT_PATHS = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
START_S, RUN_S = 300.0, 600.0  # a busy machine may need them; an idle one a few seconds
ADDRESS = "127.0.0.1:6379"  # outside of 10002 to 19999, where Ray puts its workers
WORKER = "harness.training.worker.worker"
QUIET = {
    # Ray's default is 15: where other programs compute, its actors would hardly get a processor.
    "RAY_worker_niceness": "0",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Unset, a head asks for the token in the user's ~/.ray if there is one; nodes do not send it.
    "RAY_AUTH_MODE": "disabled",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def reason_to_skip() -> str | None:
    """Reason why this machine cannot hold a cluster; None if it can."""
    try:
        import ray  # noqa: F401
    except ImportError:
        return "ray is not installed"
    if not sys.platform.startswith("linux") or os.getuid() != 0:
        return "namespaces need root on Linux"
    if not (shutil.which("ip") and shutil.which("unshare")):
        return "needs the commands ip and unshare"
    name = f"hr-{secrets.token_hex(3)}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return "network namespaces are not allowed here"
    subprocess.run(["ip", "netns", "del", name], check=True)
    mount = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    if subprocess.run(mount, capture_output=True).returncode:
        return "mount namespaces are not allowed here"
    return None


@dataclass
class RayMachines:
    """Head and nodes; commands run beside the head.

    Attributes:
        workspace: the nodes see an empty folder there.
        hosts: names that were given to nodes.
    """

    namespace: str
    workspace: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    nodes: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    hosts: dict[int, str | None] = field(default_factory=dict)
    n_started: int = 0
    head: "subprocess.Popen[bytes] | None" = None
    host: str = "127.0.0.1"

    def start_head(self) -> None:
        options = ["--head", "--port=6379", "--num-cpus=0", f"--temp-dir={self.folder / 'r'}"]
        self.head = self._ray("head", [*options, "--include-dashboard=false"], "", {})
        self._wait(self.head)

    def add_node(
        self,
        cpus: int = 1,
        *,
        gpus: int = 0,
        wait: bool = True,
        host: str | None = None,
        scratch_mb: int | None = None,
        before: str = "",
        **environment: str,
    ) -> int:
        """Start a node; its number.

        Args:
            gpus: that Ray believes in; no real one is needed.
            host: its name; None: that of this machine.
            scratch_mb: size of its disk for files.
            before: shell commands in its mount namespace.
        """
        self.n_started += 1
        name, scratch = f"node{self.n_started}", self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        size = "" if scratch_mb is None else f"-o size={scratch_mb}m "
        mounts = f"mount -t tmpfs none {self.workspace}; mount -t tmpfs {size}none {scratch}; "
        options = [f"--address={self.host}:6379", f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
        renamed = "" if host is None else f"hostname {host}; "
        process = self._ray(name, options, f"{mounts}{renamed}{before}", environment)
        self.nodes[self.n_started], self.hosts[self.n_started] = process, host
        if wait:
            self._wait(process)
        return self.n_started

    def tree(self, number: int) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.nodes[number].pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def head_tree(self) -> list[psutil.Process]:
        assert self.head is not None
        return psutil.Process(self.head.pid).children(recursive=True)

    def kill_node(self, number: int) -> None:
        """A power cut: nothing of the node lives on, and nobody is told."""
        self._send(number, signal.SIGSTOP)  # first, so that no part notices the end of another
        self._send(number, signal.SIGKILL)
        self.nodes.pop(number).wait()

    def freeze_node(self, number: int) -> None:
        """A pulled cable: the node is silent, but its connections are open."""
        self._send(number, signal.SIGSTOP)

    def thaw_node(self, number: int) -> None:
        self._send(number, signal.SIGCONT)

    def workers(self, number: int | None = None, module: str = WORKER) -> list[psutil.Process]:
        """Worker processes, of one node or of all."""
        numbers = list(self.nodes) if number is None else [number]
        return [p for n in numbers for p in self.tree(n) if _runs(p, module)]

    def command(
        self, *words: str, output: IO[str] | int = subprocess.PIPE, **environment: str
    ) -> "subprocess.Popen[str]":
        """Start `harness <words>` beside the head, in a group of its own."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, sys.executable, "-m", "harness", *words],
            env=os.environ | QUIET | self.environment | environment,
            cwd=self.workspace.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def module(self, name: str, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a Python module beside the head; its errors go to a log of that name."""
        with (self.folder / f"{name}.log").open("w", encoding="utf-8") as log:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, sys.executable, "-m", name, *words],
                env=os.environ
                | QUIET
                | {"PYTHONPATH": IMPORT_PATHS}
                | self.environment
                | environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def python(self, code: str, *words: str, **environment: str) -> str:
        """Output of a Python program beside the head."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace, sys.executable, "-c", code, *words],
            env=os.environ | QUIET | self.environment | environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        return done.stdout + done.stderr

    def run(self, *words: str, **environment: str) -> tuple[int, str]:
        """Exit code and output of a command."""
        process = self.command(*words, **environment)
        try:
            output, _ = process.communicate(timeout=RUN_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"no end after {RUN_S:.0f} s:\n{output}") from None
        return process.returncode, output

    def stop(self) -> None:
        for number in list(self.nodes):
            self.kill_node(number)
        pids = subprocess.run(
            ["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=True
        ).stdout.split()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if self.head is not None:
            self.head.wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _send(self, number: int, name: signal.Signals) -> None:
        for process in self.tree(number):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(name)

    def _ray(
        self, name: str, options: list[str], before: str, environment: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        ray = Path(sys.executable).with_name("ray")
        words = [
            *(str(ray), "start", f"--node-ip-address={self.host}", "--block"),
            *("--object-store-memory=100000000", "--disable-usage-stats", *options),
        ]
        scratch = {"HARNESS_NODE_SCRATCH": str(self.folder / "scratch" / "harness")}
        own = {"PYTHONPATH": IMPORT_PATHS} | self.environment | scratch
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *("ip", "netns", "exec", self.namespace, "unshare", "-m", "-u", "bash", "-c"),
                    f"set -e; {before} exec {' '.join(words)}",
                ],
                env=os.environ | QUIET | own | environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process.log_name = name  # type: ignore[attr-defined]
        return process

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        name, end = process.log_name, time.monotonic() + START_S  # type: ignore[attr-defined]
        while "block forever" not in self.log(name):
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{name} did not start:\n{self.log(name)}")
            time.sleep(0.2)


@contextmanager
def ray_machines(
    workspace: Path,
    *,
    nodes: int = 0,
    cpus: int = 1,
    host: str = "127.0.0.1",
    **environment: str,
) -> Iterator[RayMachines]:
    """A head without processors, and nodes with `cpus` each."""
    namespace = f"hr-{secrets.token_hex(3)}"
    # Short: the path of a socket has 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    workspace.mkdir(parents=True, exist_ok=True)
    machines = RayMachines(namespace, workspace, folder, environment, host=host)
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        loopback = ["ip", "-n", namespace, "link", "set", "lo", "up"]
        subprocess.run(loopback, check=True)
        if host != "127.0.0.1":
            other = ["ip", "-n", namespace, "addr", "add", f"{host}/32", "dev", "lo"]
            subprocess.run(other, check=True)
        machines.start_head()
        for _ in range(nodes):
            machines.add_node(cpus)
        yield machines
    finally:
        machines.stop()
        subprocess.run(["ip", "netns", "del", namespace], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def without_package(folder: Path) -> tuple[str, dict[str, str]]:
    """Commands and variables for a node that has the libraries of this package alone."""
    over, site = folder / "over", sysconfig.get_paths()["purelib"]
    over.mkdir(exist_ok=True)
    commands = (
        f"mount -t tmpfs none {over}; mkdir {over}/upper {over}/work; "
        f"mount -t overlay overlay -o lowerdir={site},upperdir={over}/upper,workdir={over}/work "
        f"{site}; rm -rf {site}/segmentation_harness-* {site}/__editable__*; "
        f"mount -t tmpfs none {ROOT}/harness; "
    )
    return commands, {"PYTHONPATH": ""}


def _runs(process: psutil.Process, module: str) -> bool:
    with suppress(psutil.NoSuchProcess):
        return module in process.cmdline()
    return False
