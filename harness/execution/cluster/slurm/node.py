"""Process of a node: trains what the mailbox of a study orders.

`python -m harness.execution.cluster.slurm.node RUN`, with the folder of a run as its argument.
Slurm starts one for each task of the job array; one started by hand on any machine that has the
same folder works as well.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType

from harness.core.errors import HarnessError
from harness.execution.cluster.file_transfer import TransferError
from harness.execution.cluster.messages import AgentReport, ChunkReply, FileChunk
from harness.execution.cluster.node_agent import NodeAgent
from harness.execution.cluster.node_facts import own_versions
from harness.execution.cluster.slurm.mailbox import (
    KillReply,
    NodeMailbox,
    NodeOrder,
    NodeRegistration,
    NodeReport,
)
from harness.execution.prestart import MODULE
from harness.execution.protocol import TrialFailed, TrialFinished, WorkerDied
from harness.execution.slots import VISIBLE_DEVICES, Slot

POLL_S = 0.25  # between two looks at the orders
HEARTBEAT_S = 5.0
# A controller may wait for a network disk or for `squeue`. After this time it counts as gone.
CONTROLLER_SILENCE_S = 180.0
SAVE_S = 100.0  # for a trial to be saved after a signal; Slurm sends it 120 s before the limit
REQUEUE_S = 60.0  # for Slurm to end this process after its job was requeued
_NOT_SHARED = "this node has other files under the path of the study; its disk must be shared"


class SharedDiskLink:
    """Connection for an agent that needs none, as its node has the controller's disk."""

    def read_chunk(self, folder_key: str, path: str, offset: int) -> bytes:
        """Refuse: the path leads to another disk here."""
        raise TransferError(_NOT_SHARED)

    def write_chunk(self, chunk: FileChunk, data: bytes) -> ChunkReply:
        """Refuse: the path leads to another disk here."""
        return ChunkReply(status="refused", message=_NOT_SHARED)


class SlurmNode:
    """Carries messages between the mailbox and an agent until the run or its job ends.

    Args:
        agent: trains the trials.
        job: of this process; None: it was started by hand.
    """

    def __init__(self, mailbox: NodeMailbox, agent: NodeAgent, job: str | None = None) -> None:
        self._mailbox, self._agent, self._job = mailbox, agent, job
        self._outbox: deque[NodeReport] = deque()
        self._trial: tuple[int, int] | None = None  # number and attempt
        self._ending: str | None = None  # reason to end, once the trial is saved
        self._save_until = 0.0
        self._signal: int | None = None
        self._is_done = threading.Event()

    def on_signal(self, number: int, _: FrameType | None) -> None:
        """Note a signal that announces the end of the job."""
        self._signal = self._signal or number

    def run(self) -> None:
        """Serve until the run is closed, its controller is gone, or a signal announces the end."""
        threading.Thread(target=self._beat, daemon=True).start()
        try:
            while not self._serve_once():
                pass
        finally:
            self._agent.close()
            self._is_done.set()
            self._outbox.append(NodeReport(ended=self._ending or "failed"))
            self._flush()
        if self._signal == signal.SIGUSR1 and not self._mailbox.is_closed():
            self._requeue()

    def _serve_once(self) -> bool:
        """One round of the loop; True if the process must end."""
        if (report := self._agent.next_report(POLL_S)) is not None:
            self._note_report(report)
        self._flush()
        for order in self._mailbox.read_orders():
            self._obey(order)
        if self._mailbox.is_closed():
            self._ending = self._ending or "the run has ended"
            return True
        if self._ending is None:
            self._look_for_end()
        is_saved = self._trial is None and not self._outbox
        return self._ending is not None and (is_saved or time.monotonic() > self._save_until)

    def _note_report(self, report: AgentReport) -> None:
        event = report.event
        if isinstance(event, TrialFinished | TrialFailed | WorkerDied):
            self._trial = None
        self._outbox.append(NodeReport(report=report))

    def _obey(self, order: NodeOrder) -> None:
        if order.inputs is not None and self._ending is None:
            task = order.inputs.task
            self._trial = task.number, task.attempt
            self._agent.start(order.inputs)
        elif order.reply is not None:
            self._agent.answer(order.reply.number, order.reply.decision)
        elif order.kill is not None:
            log_tail = self._agent.kill_trial(order.kill)
            self._trial = None
            self._outbox.append(NodeReport(killed=KillReply(number=order.kill, log_tail=log_tail)))
        elif order.stop:
            self._agent.request_stop()
        elif order.close:
            self._trial, self._ending = None, "ended by the controller"

    def _look_for_end(self) -> None:
        """Save the trial if this process has to end soon."""
        if self._signal is not None:
            self._ending = signal.Signals(self._signal).name
        elif self._mailbox.controller_silence_s() > CONTROLLER_SILENCE_S:
            self._ending = f"the controller was silent for {CONTROLLER_SILENCE_S:.0f} s"
        else:
            return
        self._save_until = time.monotonic() + SAVE_S
        self._agent.preempt()

    def _flush(self) -> None:
        """Send what waits, in order; a disk that fails is tried again in the next round."""
        with suppress(OSError):
            while self._outbox:
                self._mailbox.send(self._outbox[0])
                self._outbox.popleft()

    def _beat(self) -> None:
        # A thread of its own, as a kill or a slow disk must not look like a dead node.
        while not self._is_done.wait(HEARTBEAT_S):
            with suppress(OSError):
                self._mailbox.beat()

    def _requeue(self) -> None:
        """Put the job back into the queue: the time limit would end it for good."""
        if self._job is None:
            return
        with suppress(OSError, subprocess.TimeoutExpired):
            command = ["scontrol", "requeue", self._job]
            if subprocess.run(command, timeout=REQUEUE_S, check=False).returncode == 0:
                time.sleep(REQUEUE_S)  # an exit now could be taken for the end of the job
        # Otherwise the controller submits another job.


def own_job(environment: Mapping[str, str] = os.environ) -> str | None:
    """Id of the job of this process, `123_4` in an array; None outside of Slurm."""
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environment.get("SLURM_JOB_ID")


def own_slot(environment: Mapping[str, str] = os.environ) -> Slot:
    """Device of the worker: the GPUs of this process's job, or the CPU if it has none.

    Where a cluster does not hide them, a job without a GPU sees those of other jobs.
    """
    is_job = own_job(environment) is not None
    has_gpu = any(
        environment.get(name) for name in (VISIBLE_DEVICES, "SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE")
    )
    return Slot("cpu", {VISIBLE_DEVICES: ""}) if is_job and not has_gpu else Slot("auto")


def node_scratch() -> Path:
    """Folder of this node for the log of the worker."""
    return Path(tempfile.gettempdir()) / f"harness-{os.getuid()}"


def main(arguments: list[str], module: str = MODULE) -> int:
    """Serve the run whose folder is the only argument."""
    run, job = Path(arguments[0]), own_job()
    if not (run / "heartbeat").exists() or (run / "closed").exists():
        print(f"{run}: this run has ended", file=sys.stderr)  # noqa: T201
        return 0
    registration = NodeRegistration(
        host=socket.gethostname(), pid=os.getpid(), job=job, versions=own_versions()
    )
    agent = NodeAgent(
        node_scratch(), SharedDiskLink(), slot=own_slot(), module=module, contact_timeout_s=None
    )
    node = SlurmNode(NodeMailbox(run, registration), agent, job)
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, node.on_signal)
    # Slurm sends SIGCONT as well; its default action is right.
    try:
        node.run()
    except HarnessError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
