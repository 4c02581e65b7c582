"""A Slurm of one machine in a folder of its own: munged, slurmctld, slurmd, no accounting."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
START_S = 40.0
NODE_NAME = "localhost"  # slurmctld refuses names that it cannot resolve
CONFIGURATION = """
ClusterName=harness
SlurmctldHost=localhost
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge/socket,cred_expire=5
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/builtin
# A requeued job waits for the next look at the queue, 30 s otherwise.
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=10
# More processors than this machine may have: the workers of a test share what there is.
SlurmdParameters=config_overrides
NodeName={node} CPUs=8 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def reason_to_skip() -> str | None:
    """Reason why no Slurm can be started here."""
    if os.geteuid() != 0:
        return "slurmd needs root"
    missing = [name for name in DAEMONS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed (slurm-wlm and munge of Debian)"
    return None


@contextmanager
def slurm_machine() -> Iterator[Path | str]:
    """Run the daemons for the time of the block; slurm.conf, or a reason why it cannot run."""
    # A short path: the name of munge's socket may have 107 characters at most.
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    configuration = root / "slurm.conf"
    ports = _free_ports(2)
    configuration.write_text(CONFIGURATION.format(root=root, ports=ports, node=NODE_NAME))
    for name in ("state", "spool", "munge"):
        (root / name).mkdir(mode=0o700)
    key = root / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    environment = dict(os.environ) | {"SLURM_CONF": str(configuration)}
    commands = [
        [
            *("munged", "--foreground", "--force", f"--key-file={key}"),
            *(f"--{name}={root}/munge/{name[:4]}" for name in ("pid-file", "log-file")),
            f"--seed-file={root}/munge/seed",
            f"--socket={root}/munge/socket",
        ],
        ["slurmctld", "-D", "-c", "-f", str(configuration)],
        ["slurmd", "-D", "-f", str(configuration), "-N", NODE_NAME],
    ]
    daemons = []
    try:
        for command in commands:
            log = (root / f"{command[0]}.out").open("wb")
            daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            log.close()
            time.sleep(0.5)
        yield configuration if _is_idle(environment) else _daemon_errors(root)
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(root, ignore_errors=True)


def _is_idle(environment: dict[str, str]) -> bool:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        command = ["sinfo", "--noheader", "--format=%T"]
        output = subprocess.run(command, env=environment, capture_output=True, text=True).stdout
        if output.strip() == "idle":
            return True
        time.sleep(0.5)
    return False


def _daemon_errors(root: Path) -> str:
    lines = [
        line
        for log in root.glob("*.log")
        for line in log.read_text(errors="replace").splitlines()
        if "error" in line or "fatal" in line
    ]
    return f"Slurm did not start: {lines[-3:]}"


def _free_ports(n_ports: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n_ports)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports
