"""Settings of a run on a cluster, from the options of the command."""

import re
from dataclasses import dataclass
from typing import Literal

from harness.core.errors import UserError

CLUSTER_KINDS = ("ray", "slurm")
MAX_WORKERS = 64
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}")


@dataclass(frozen=True)
class ClusterSettings:
    """Choice of a cluster and the share of it that each trial gets.

    Attributes:
        kind: the scheduler that places the workers.
        address: HOST:PORT of a Ray cluster; None: the cluster that this machine belongs to.
        workers: trials that run simultaneously; None: as many as the cluster can hold.
        gpus_per_trial: may be a fraction; None: 1 if the cluster has GPUs, otherwise 0.
        cpus_per_trial: also the number of threads of each worker.
        scratch: folder or URL for checkpoints, see `CheckpointStore`.
        trusted_network: accept a cluster that any machine of its network may use.
        ship_code: send this package to the nodes.
        sbatch: options of Slurm's sbatch, as one text.
    """

    kind: Literal["ray", "slurm"]
    address: str | None = None
    workers: int | None = 1
    gpus_per_trial: float | None = None
    cpus_per_trial: int = 1
    scratch: str | None = None
    trusted_network: bool = False
    ship_code: bool = False
    sbatch: str = ""


def parse_cluster(text: str) -> tuple[Literal["ray", "slurm"], str | None]:
    """Split `--cluster` into the kind and the address: `ray`, `ray:HOST:PORT` or `slurm`.

    Raises:
        UserError: the kind is unknown or the address is not HOST:PORT.
    """
    kind, _, address = text.partition(":")
    if kind == "slurm" and not address:
        return "slurm", None
    if kind != "ray":
        raise UserError(f"--cluster {text}: unknown cluster; choose from ray, ray:HOST:PORT, slurm")
    if address.startswith("//"):
        raise UserError(
            f"--cluster {text}: a Ray Client cannot carry the files of trials; run the command on "
            "a machine of the cluster and give ray, or ray:HOST:PORT of its head"
        )
    if address and not _ADDRESS.fullmatch(address):
        raise UserError(f"--cluster {text}: must be ray:HOST:PORT, e.g. ray:10.0.0.1:6379")
    return "ray", address or None


def resource_text(gpus: float, cpus: float) -> str:
    """Text of resources: `0.5 GPU and 4 CPUs`, `1 CPU`."""
    parts = [_amount(gpus, "GPU")] if gpus else []
    return " and ".join([*parts, _amount(cpus, "CPU")])


def _amount(number: float, unit: str) -> str:
    return f"{number:g} {unit}{'s' if number > 1 or number == 0 else ''}"
