"""Membership in a Ray cluster: address, exposure of the cluster, its nodes and their versions."""

import atexit
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import harness
from harness.core.errors import UserError
from harness.core.text import count
from harness.execution.cluster.cluster_settings import MAX_WORKERS, ClusterSettings, resource_text
from harness.execution.cluster.messages import NodeFacts
from harness.execution.cluster.node_facts import own_versions, version_differences
from harness.execution.cluster.ray_agent import AgentSettings, ProbeActor
from harness.execution.cluster.ray_internals import RayInternals
from harness.execution.cluster.ray_network import kept_signal_handlers, refuse_open_network
from harness.execution.cluster.scratch_check import ScratchCheck

NAMESPACE = "harness"
LEAVE_S = 10.0  # for Ray to say good-bye to its head
PROBE_TIMEOUT_S = 240.0  # for a node that starts a process and imports torch from a slow disk
_PROBE: Any = ray.remote(ProbeActor)  # Any: ray has types for the calls of plain functions only
WAIT_LINE_S = 3.0  # without a place for a trial, before the user is told


@dataclass(frozen=True)
class ClusterNode:
    """A living node.

    Attributes:
        id: of Ray; a node that is started again has another one.
        address: of its network interface.
        total: its resources by name, e.g. "CPU", "GPU".
    """

    id: str
    host: str
    address: str
    total: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.host if self.address in ("", self.host) else f"{self.host} ({self.address})"

    def capacity(self, gpus: float, cpus: float) -> int:
        """Number of trials that fit on the whole node."""
        fits = [int(self.total.get("CPU", 0.0) / cpus + 1e-9)]
        if gpus:
            # A trial's part of a GPU lies on one GPU: 0.6 fits once on each.
            per_gpu = int(1 / gpus + 1e-9) if gpus < 1 else 0
            n_gpus = self.total.get("GPU", 0.0)
            fits.append(int(n_gpus) * per_gpu if gpus < 1 else int(n_gpus / gpus + 1e-9))
        return min(fits)


class RayCluster:
    """A Ray cluster that this process has joined as a driver.

    Args:
        settings: address and resources of a trial.
        say: shows a line to the user.

    Raises:
        UserError: there is no such cluster, or strangers could use it.

    Attributes:
        gpus: of each trial.
        facts: of the nodes that have been asked, by id.
    """

    def __init__(self, settings: ClusterSettings, say: Callable[[str], None]) -> None:
        self.settings, self._say = settings, say
        self._internals = RayInternals(say)
        self.facts: dict[str, NodeFacts] = {}
        self._owns_connection = not ray.is_initialized()
        self._scratch_check: ScratchCheck | None = None
        self._connect()
        self.address: str = ray.get_runtime_context().gcs_address
        self.driver_node_id: str = ray.get_runtime_context().get_node_id()
        try:
            if not settings.trusted_network:
                refuse_open_network(self.address, [node.address for node in self.nodes()])
            scratch = settings.scratch
            self._scratch_check = None if scratch is None else ScratchCheck(scratch)
        except UserError:
            self.close()
            raise
        requested = settings.gpus_per_trial
        has_gpus = any(node.total.get("GPU", 0.0) > 0 for node in self.nodes())
        self.gpus = (1.0 if has_gpus else 0.0) if requested is None else requested

    @property
    def need_text(self) -> str:
        """Resources of a trial, as text."""
        return resource_text(self.gpus, self.settings.cpus_per_trial)

    def nodes(self) -> list[ClusterNode]:
        """The nodes that Ray believes to live. Raises RayError if the head does not answer."""
        return [
            ClusterNode(
                node["NodeID"],
                node["NodeManagerHostname"],
                node["NodeManagerAddress"],
                dict(node["Resources"]),
            )
            for node in ray.nodes()  # type: ignore[no-untyped-call]
            if node["Alive"]
        ]

    def draining_nodes(self) -> set[str]:
        """Ids of the nodes that an autoscaler has announced to remove."""
        return self._internals.draining_nodes()

    def node_of(self, actor: Any) -> ClusterNode | None:
        """The node on which an actor was placed last; None if it was not, or is gone."""
        id_ = self._internals.node_id_of(actor)
        return next((node for node in self.nodes() if node.id == id_), None)

    def capacity(self) -> int:
        """Number of trials that fit on all nodes, whatever else runs there; at most 64."""
        cpus = self.settings.cpus_per_trial
        return min(MAX_WORKERS, sum(node.capacity(self.gpus, cpus) for node in self.nodes()))

    def n_workers(self) -> int:
        """Number of trials that the user wants to run simultaneously, on what is there."""
        return self.settings.workers or max(1, self.capacity())

    def contents_text(self) -> str:
        """Text of what the cluster has, and how much of it is free."""
        nodes = self.nodes()
        free = ray.available_resources()  # type: ignore[no-untyped-call]
        totals = {name: sum(n.total.get(name, 0.0) for n in nodes) for name in ("GPU", "CPU")}
        spare = resource_text(free.get("GPU", 0.0), free.get("CPU", 0.0))
        return (
            f"{resource_text(totals['GPU'], totals['CPU'])} on {count(len(nodes), 'node')}, of "
            f"which {spare} free"
        )

    def waiting_line(self) -> str:
        """Line for the user while no trial can be placed."""
        return f"waiting for {self.need_text}: the cluster has {self.contents_text()}"

    def check_nodes(self) -> list[NodeFacts]:
        """Wait for a node that can train, then ask all of these for their facts.

        Raises:
            UserError: a node has other versions, or its device cannot be used.
        """
        nodes = self._wait_for_nodes()
        probes = [(node, *self._start_probe(node.id)) for node in nodes]
        problems = []
        for node, actor, reference in probes:
            try:
                self.facts[node.id] = _read_facts(reference)
            except (RayError, GetTimeoutError) as error:
                problems.append(f"node {node}: {_first_line(error)}")
            else:
                problems += self.node_problems(node.id, str(node))
            ray.kill(actor)
        if problems:
            is_sendable = any("harness" in problem for problem in problems)
            is_hinted = is_sendable and not self.settings.ship_code
            hint = "; --ship-code sends this package" if is_hinted else ""
            raise UserError("\n".join([*problems, f"install the same versions on all nodes{hint}"]))
        return [self.facts[node.id] for node in nodes]

    def node_problems(self, node_id: str, name: str) -> list[str]:
        """Versions in which a node differs, as one line; [] if there are none."""
        differences = version_differences(self.facts[node_id].versions, own_versions())
        return [f"node {name}: {', '.join(differences)}"] if differences else []

    def agent_settings(self, module: str = "", study_id: str = "") -> AgentSettings:
        """Settings of the agents of a study."""
        check = self._scratch_check
        return AgentSettings(
            module=module,
            study_id=study_id,
            gpus=self.gpus,
            threads=self.settings.cpus_per_trial,
            n_workers=self.n_workers(),
            scratch=self.settings.scratch,
            scratch_check=None if check is None else check.name,
        )

    def describe(self) -> str:
        """Describe workers and nodes for the first line of a run."""
        n_workers = self.settings.workers
        workers = "as many workers as fit" if n_workers is None else count(n_workers, "worker")
        return (
            f"{workers} with {self.need_text} each on Ray at {self.address}, which has "
            f"{self.contents_text()}"
        )

    def close(self) -> None:
        """Leave the cluster, unless the caller had joined it."""
        if self._scratch_check is not None:
            self._scratch_check.close()
        if self._owns_connection:
            self._owns_connection = False
            leaver = threading.Thread(target=ray.shutdown, daemon=True)
            leaver.start()
            leaver.join(LEAVE_S)
            if leaver.is_alive():
                # Its head does not answer. Ray would wait for it again when this process exits.
                atexit.unregister(ray.shutdown)

    def _connect(self) -> None:
        if not self._owns_connection:
            return
        address = self.settings.address or "auto"
        runtime_env = {"py_modules": [str(Path(harness.__file__).parent)]}
        try:
            with kept_signal_handlers():
                ray.init(
                    address=address,
                    namespace=NAMESPACE,
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    runtime_env=runtime_env if self.settings.ship_code else None,
                )
        except (ConnectionError, RayError, RuntimeError, ValueError, TimeoutError) as error:
            where = f"at {self.settings.address}" if self.settings.address else "on this machine"
            raise UserError(
                f"--cluster: no Ray cluster answers {where} ({_first_line(error)}); start one with "
                "`ray start --head`, or join one with `ray start --address=HOST:PORT`; if it needs "
                "a token, set RAY_AUTH_MODE=token here as well"
            ) from error

    def _wait_for_nodes(self) -> list[ClusterNode]:
        cpus, started, is_told = self.settings.cpus_per_trial, time.monotonic(), False
        demand: Any = None
        try:
            while True:
                nodes = [node for node in self.nodes() if node.capacity(self.gpus, cpus)]
                if nodes:
                    return nodes
                if demand is None:  # an autoscaler adds nodes for what waits
                    options = {"num_cpus": cpus, "num_gpus": self.gpus}
                    demand = _PROBE.options(**options).remote()
                if not is_told and time.monotonic() - started > WAIT_LINE_S:
                    is_told = True
                    self._say(self.waiting_line())
                time.sleep(0.5)
        finally:
            if demand is not None:
                ray.kill(demand)

    def _start_probe(self, node_id: str) -> tuple[Any, Any]:
        affinity = NodeAffinitySchedulingStrategy(node_id, soft=False)
        actor = _PROBE.options(num_cpus=0, scheduling_strategy=affinity).remote()
        return actor, actor.facts.remote(self.agent_settings().model_dump_json())


def _read_facts(reference: Any) -> NodeFacts:
    return NodeFacts.model_validate_json(ray.get(reference, timeout=PROBE_TIMEOUT_S))


def _first_line(error: BaseException) -> str:
    """The most telling line of an error: Ray puts the cause of a task's failure last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300]
