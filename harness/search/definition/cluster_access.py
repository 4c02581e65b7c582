"""Access to the cluster of `--cluster`, if the options of a command name one."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from harness.core.errors import UserError
from harness.execution.cluster.checkpoint_store import CheckpointStore
from harness.execution.cluster.cluster_settings import ClusterSettings, parse_cluster
from harness.execution.cluster.messages import InputSource, NodeFacts
from harness.execution.cluster.slurm.slurm_cluster import SlurmCluster
from harness.execution.protocol import Executor
from harness.search.definition.options import ComputeOptions
from harness.training.hardware.device_facts import DeviceFacts


class ClusterConnection(Protocol):
    """Joined cluster of any kind."""

    def check_nodes(self) -> list[NodeFacts]:
        """Facts about the nodes that can train. Raises UserError for one with other versions."""
        ...

    def n_workers(self) -> int:
        """Number of trials that run simultaneously, if nothing else runs there."""
        ...

    def describe(self) -> str:
        """Describe nodes and workers for the first line of a run."""
        ...

    def open_executor(
        self, inputs: InputSource, *, study_id: str, say: Callable[[str], None]
    ) -> Executor:
        """Open the executor of a study, which closes `inputs` at its end."""
        ...

    def close(self) -> None:
        """Leave the cluster."""
        ...


class ClusterAccess:
    """Joined cluster whose nodes have the right versions.

    Attributes:
        devices: of the nodes, those of trial 0 first; each kind at least once.
    """

    def __init__(self, connection: ClusterConnection, scratch: str | None = None) -> None:
        self._connection, self._scratch = connection, scratch
        self.devices = tuple(_device_facts(facts) for facts in connection.check_nodes())
        self.n_workers, self.describe = connection.n_workers, connection.describe
        self.open_executor, self.close = connection.open_executor, connection.close

    def open_store(self, study_id: str) -> CheckpointStore | None:
        """Open the study's store of checkpoints; None: they are sent to this machine."""
        return None if self._scratch is None else CheckpointStore(self._scratch, study_id)


def open_cluster(compute: ComputeOptions, say: Callable[[str], None]) -> ClusterAccess | None:
    """Join the cluster that the options name; None if they name none.

    Raises:
        UserError: the options contradict one another, the cluster does not answer, is open to
            strangers, or has nodes with other versions.
    """
    _check_options(compute)
    if compute.cluster is None:
        return None
    kind, address = parse_cluster(compute.cluster)
    settings = ClusterSettings(
        kind=kind,
        address=address,
        workers=None if isinstance(compute.workers, str) else compute.workers or 1,
        gpus_per_trial=compute.gpus_per_trial,
        cpus_per_trial=compute.cpus_per_trial or 1,
        scratch=_absolute_scratch(compute.scratch),
        trusted_network=compute.trusted_network,
        ship_code=compute.ship_code,
        sbatch=compute.sbatch or "",
    )
    connection = _connect(settings, say)
    try:
        return ClusterAccess(connection, settings.scratch)
    except BaseException:
        connection.close()
        raise


def _connect(settings: ClusterSettings, say: Callable[[str], None]) -> ClusterConnection:
    if settings.kind == "slurm":
        return SlurmCluster(settings)
    try:
        from harness.execution.cluster.ray_connection import (  # noqa: PLC0415  # optional
            RayConnection,
        )
    except ImportError as error:
        raise UserError(
            f"--cluster ray: {error}; pip install 'segmentation-harness[ray]'"
        ) from error
    return RayConnection(settings, say)


def _check_options(compute: ComputeOptions) -> None:
    """Refuse options that have no meaning together."""
    cluster_options = {
        "--gpus-per-trial": compute.gpus_per_trial,
        "--cpus-per-trial": compute.cpus_per_trial,
        "--scratch": compute.scratch,
        "--trusted-network": compute.trusted_network or None,
        "--ship-code": compute.ship_code or None,
        "--sbatch": compute.sbatch,
        "--workers max": compute.workers if compute.workers == "max" else None,
    }
    if compute.cluster is None:
        for name, setting in cluster_options.items():
            if setting is not None:
                raise UserError(f"{name}: needs --cluster; omit it to train on this machine")
        return
    if compute.sbatch is not None and compute.cluster != "slurm":
        raise UserError("--sbatch: needs --cluster slurm; omit it")
    if compute.workers == "auto":
        raise UserError("--workers auto: cannot be combined with --cluster; use a number, or max")
    local_options = {
        "--gpus": compute.gpus,
        "--per-gpu": compute.per_gpu,
        "--device": None if compute.device == "auto" else compute.device,
    }
    for name, setting in local_options.items():
        if setting is not None:
            raise UserError(
                f"{name} {setting}: chooses devices of this machine and cannot be combined with "
                "--cluster; use --gpus-per-trial, e.g. 1 or 0.5, or 0 for the CPU"
            )
    gpus = compute.gpus_per_trial
    if gpus is not None and not (gpus == 0 or 0.01 <= gpus < 1 or gpus == int(gpus) <= 1):
        raise UserError(
            f"--gpus-per-trial {gpus:g}: must be 0, a part of a GPU such as 0.5, or 1; a trial "
            "trains on one GPU"
        )


def _absolute_scratch(text: str | None) -> str | None:
    """`--scratch` as all nodes understand it: a folder from the root on, or a URL."""
    if text is None or "://" in text:
        return text
    return str(Path(text).expanduser().absolute())


def _device_facts(facts: NodeFacts) -> DeviceFacts:
    kind = facts.devices[0].partition(" ")[0]
    is_known = facts.precision is not None
    return DeviceFacts(kind, facts.devices[0], facts.precision == "bf16" if is_known else None)
