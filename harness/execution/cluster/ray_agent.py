"""Actors of Ray: the agent on a node, and the files of the controller's machine.

Ray carries these calls and watches the processes. All that an actor does is in `NodeAgent` and
`ControllerFiles`, which do not know Ray. Messages travel as JSON and are checked on arrival.
"""

import os
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

import ray
from pydantic import BaseModel, ConfigDict
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from harness.execution.cluster.checkpoint_store import CheckpointStore
from harness.execution.cluster.file_receiver import ControllerFiles
from harness.execution.cluster.file_transfer import TransferError
from harness.execution.cluster.messages import ChunkReply, FileChunk, TaskInputs
from harness.execution.cluster.node_agent import NodeAgent
from harness.execution.cluster.node_facts import collect_node_facts
from harness.execution.cluster.scratch_check import check_scratch
from harness.execution.protocol import Decision
from harness.execution.slots import VISIBLE_DEVICES, Slot

SCRATCH_VARIABLE = "HARNESS_NODE_SCRATCH"
CALL_TIMEOUT_S = 120.0  # for one chunk of 8 MiB: a link of 70 kB/s


class AgentSettings(BaseModel):
    """Settings of an agent, the same on all nodes.

    Attributes:
        gpus: of each worker; 0: it must see no GPU.
        threads: of each worker.
        n_workers: workers of the study, which share the link.
        uses_weights: the trials need pretrained weights.
        scratch: folder or URL for checkpoints; None: they are sent to the controller.
        scratch_check: name of the `ScratchCheck`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    module: str
    study_id: str
    gpus: float
    threads: int
    n_workers: int
    uses_weights: bool = False
    scratch: str | None = None
    scratch_check: str | None = None

    @property
    def slot(self) -> Slot:
        """Device and environment of the worker."""
        threads = str(self.threads)
        environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        if self.gpus:
            return Slot("cuda", environment)  # Ray has set CUDA_VISIBLE_DEVICES for the actor
        # Ray leaves the variable alone for actors without a GPU, and these would see all of them.
        return Slot("cpu", environment | {VISIBLE_DEVICES: ""})


class RayLink:
    """Connection of an agent to the files of the controller, a `ControllerLink`."""

    def __init__(self, files_actor: Any) -> None:
        self._files_actor = files_actor

    def read_chunk(self, folder_key: str, path: str, offset: int) -> bytes:
        """Read a part of a file, see `FileFetcher`."""
        data: bytes = _call(self._files_actor.read_chunk.remote(folder_key, path, offset))
        return data

    def write_chunk(self, chunk: FileChunk, data: bytes) -> ChunkReply:
        """Send a part of a file, see `ControllerLink`."""
        reply = _call(self._files_actor.write_chunk.remote(chunk.model_dump_json(), data))
        return ChunkReply.model_validate_json(reply)


class FilesActor:
    """Process on the controller's machine through which agents read and write its files.

    Ray restarts it if it is killed. Until `restore` has told it the running attempts again, each
    call fails in a way that agents repeat.
    """

    def __init__(self) -> None:
        self._files = ControllerFiles()
        self._is_restored = False

    def restore(self, inputs: list[str]) -> None:
        """Register the attempts that are running, after which calls are answered."""
        for text in inputs:
            self._files.register(TaskInputs.model_validate_json(text))
        self._is_restored = True

    def is_restored(self) -> bool:
        """False after a restart."""
        return self._is_restored

    def register(self, inputs: str) -> None:
        """Serve the files of an attempt."""
        self._files.register(TaskInputs.model_validate_json(inputs))

    def end_attempt(self, inputs: str) -> None:
        """Serve and accept nothing more for an attempt."""
        self._files.end_attempt(TaskInputs.model_validate_json(inputs))

    def read_chunk(self, folder_key: str, path: str, offset: int) -> bytes:
        """Read a part of a file, see `FileFetcher`."""
        self._check_restored()
        return self._files.read_chunk(folder_key, path, offset)

    def write_chunk(self, chunk: str, data: bytes) -> str:
        """Write a part of a file, see `ControllerLink`."""
        self._check_restored()
        return self._files.write_chunk(FileChunk.model_validate_json(chunk), data).model_dump_json()

    def _check_restored(self) -> None:
        if not self._is_restored:
            raise TimeoutError("the controller has not registered its trials again yet")


class AgentActor:
    """Process on a node that holds a `NodeAgent`."""

    def __init__(self, settings: str, files_actor: Any) -> None:
        self._settings = AgentSettings.model_validate_json(settings)
        scratch, study_id = self._settings.scratch, self._settings.study_id
        self._agent = NodeAgent(
            node_scratch(),
            RayLink(files_actor),
            slot=self._settings.slot,
            module=self._settings.module,
            n_workers=self._settings.n_workers,
            uses_weights=self._settings.uses_weights,
            store=None if scratch is None else CheckpointStore(scratch, study_id),
            on_orphaned=_end_process,
        )

    def identity(self) -> tuple[str, str, int]:
        """Ray's id of the node, its host name, and the process id."""
        return ray.get_runtime_context().get_node_id(), socket.gethostname(), os.getpid()

    def facts(self) -> str:
        """Facts about the node, see `NodeFacts`."""
        return _own_facts(self._settings)

    def start(self, inputs: str) -> None:
        """Train a trial."""
        self._agent.start(TaskInputs.model_validate_json(inputs))

    def next_report(self, timeout_s: float) -> tuple[str | None, bool]:
        """The next report or None, and whether the agent still fetches files for its trial."""
        report = self._agent.next_report(timeout_s)
        return None if report is None else report.model_dump_json(), self._agent.is_staging

    def answer(self, number: int, decision: Decision) -> None:
        """Send the decision about an epoch."""
        self._agent.answer(number, decision)

    def kill_trial(self, number: int) -> str:
        """Kill the worker of a trial; the end of its log."""
        return self._agent.kill_trial(number)

    def request_stop(self) -> None:
        """Request the trial to stop at its next step."""
        self._agent.request_stop()

    def preempt(self) -> None:
        """Save the trial, since the node will end."""
        self._agent.preempt()

    def close(self) -> None:
        """Kill the worker and remove the agent's folder."""
        self._agent.close()


class ProbeActor:
    """Process that describes its node before trial 0."""

    def facts(self, settings: str) -> str:
        """Facts about the node, see `NodeFacts`; it must reach the scratch."""
        return _own_facts(AgentSettings.model_validate_json(settings))


def node_scratch() -> Path:
    """Folder of this node for files: HARNESS_NODE_SCRATCH, else in the folder for temporary files.

    A home folder is often small and on a network.
    """
    folder = os.environ.get(SCRATCH_VARIABLE)
    return Path(folder) if folder else Path(tempfile.gettempdir()) / f"harness-{os.getuid()}"


def _own_facts(settings: AgentSettings) -> str:
    if settings.scratch is not None and settings.scratch_check is not None:
        check_scratch(settings.scratch, settings.scratch_check)
    slot = settings.slot
    return collect_node_facts(slot.device, slot.environment).model_dump_json()


def _call(reference: Any) -> Any:
    """Result of a call to the files of the controller; OSError if it may be repeated."""
    try:
        return ray.get(reference, timeout=CALL_TIMEOUT_S)
    except GetTimeoutError as error:
        raise TimeoutError(f"no answer within {CALL_TIMEOUT_S:.0f} s") from error
    except RayTaskError as error:
        if isinstance(error.cause, TransferError):
            raise TransferError(str(error.cause)) from error
        raise OSError(str(error.cause)) from error
    except RayError as error:
        raise OSError(f"the controller does not answer: {type(error).__name__}") from error


def _end_process() -> None:
    # The actor's own thread may wait in a call that never returns, so no ordinary exit.
    os.kill(os.getpid(), signal.SIGKILL)
