"""Mailbox of a study: files by which its controller and its nodes exchange messages.

<study>/cluster/<run>/            one folder for each run of the controller
    heartbeat                     touched by the controller
    closed                        exists once the run has ended
    logs/                         output of the nodes
    nodes/<node>/                 one folder for each process of a node
        registration.json         written before the folder gets its name
        heartbeat, reports.jsonl  written by the node
        orders.jsonl              written by the controller

A node that is started again gets a new folder, so that no file ever has a second writer.
"""

import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from harness.core import files
from harness.execution.cluster.messages import AgentReport, TaskInputs
from harness.execution.cluster.slurm.line_files import (
    HeartbeatMonitor,
    LineReader,
    LineWriter,
    touch,
)
from harness.execution.protocol import EpochReply, ProtocolMessage

FOLDER_NAME = "cluster"  # in the folder of a study
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")
JobId = Annotated[str, Field(pattern=r"^[0-9]{1,12}(_[0-9]{1,8})?$")]  # `123_4`: task 4 of an array


class NodeRegistration(ProtocolMessage):
    """Description of a process that can train trials.

    Attributes:
        job: its job in Slurm; None: it was started by hand.
        versions: by distribution name, see `NodeFacts`.
    """

    host: str
    pid: int
    job: JobId | None = None
    versions: dict[str, str] = Field(default_factory=dict)


class NodeOrder(ProtocolMessage):
    """One order to a node; one of the fields is set.

    Attributes:
        inputs: train this trial.
        reply: decision about a reported epoch.
        kill: number of the trial whose worker must be killed.
        stop: request the trial to stop at its next step.
        close: end the worker and the node's process.
    """

    inputs: TaskInputs | None = None
    reply: EpochReply | None = None
    kill: int | None = None
    stop: bool = False
    close: bool = False


class KillReply(ProtocolMessage):
    """The worker of a trial was killed; `log_tail` is the end of its log."""

    number: int
    log_tail: str


class NodeReport(ProtocolMessage):
    """One message of a node; one of the fields is set.

    Attributes:
        report: of its agent.
        killed: answer to `NodeOrder.kill`.
        ended: the process ends now, for this reason.
    """

    report: AgentReport | None = None
    killed: KillReply | None = None
    ended: str | None = None


class NodeMailbox:
    """Node's end of the mailbox.

    Args:
        run: folder of the run.

    Raises:
        FileNotFoundError: the run has ended, and its folder was removed.
    """

    def __init__(self, run: Path, registration: NodeRegistration) -> None:
        self._run = run
        name = f"{registration.host}-{registration.job or 0}-{secrets.token_hex(4)}"
        name = _NOT_IN_NAMES.sub("_", name)
        unnamed, self.folder = run / "nodes" / f".{name}", run / "nodes" / name
        unnamed.mkdir()
        files.write_text(unnamed / "registration.json", registration.model_dump_json())
        touch(unnamed / "heartbeat")
        unnamed.rename(self.folder)
        self._heartbeat = self.folder / "heartbeat"
        self._orders = LineReader(self.folder / "orders.jsonl", NodeOrder)
        self._reports = LineWriter(self.folder / "reports.jsonl")
        self._monitor = HeartbeatMonitor(self._heartbeat, run / "heartbeat")

    def read_orders(self) -> list[NodeOrder]:
        """The new orders. Raises MailboxError."""
        return self._orders.read_new()

    def send(self, report: NodeReport) -> None:
        """Send a message; it is on the disk when this returns. Raises OSError."""
        self._reports.append(report)

    def beat(self) -> None:
        """Show the controller that this process lives. Raises OSError."""
        touch(self._heartbeat)

    def controller_silence_s(self) -> float:
        """Seconds for which the controller has shown no sign of life."""
        return self._monitor.silence_s()

    def is_closed(self) -> bool:
        """True if the run has ended."""
        return (self._run / "closed").exists() or not self._run.exists()


class NodeChannel:
    """Controller's end of the files of one node."""

    def __init__(self, run: Path, name: str, registration: NodeRegistration) -> None:
        folder = run / "nodes" / name
        self.name, self.registration = name, registration
        self._orders = LineWriter(folder / "orders.jsonl")
        self._reports = LineReader(folder / "reports.jsonl", NodeReport)
        self._monitor = HeartbeatMonitor(run / "heartbeat", folder / "heartbeat")

    def send(self, order: NodeOrder) -> None:
        """Send an order. Raises OSError."""
        self._orders.append(order)

    def read_reports(self) -> list[NodeReport]:
        """The new messages. Raises MailboxError."""
        return self._reports.read_new()

    def silence_s(self) -> float:
        """Seconds for which the node has shown no sign of life."""
        return self._monitor.silence_s()


class ControllerMailbox:
    """Controller's end of the mailbox: one run of a study.

    Args:
        study: folder of the study, whose lock the controller holds. The runs of earlier
            controllers are closed: their nodes end by themselves.

    Attributes:
        run: folder of this run, for this user alone: who can write there can give orders.
        token: name of the run.
    """

    def __init__(self, study: Path) -> None:
        root = study / FOLDER_NAME
        root.mkdir(parents=True, exist_ok=True)
        self._earlier_runs = [p for p in root.iterdir() if p.is_dir() and not p.is_symlink()]
        for earlier in self._earlier_runs:
            touch(earlier / "closed")
        self.token = secrets.token_hex(6)
        self.run = root / self.token
        self.run.mkdir(mode=0o700)
        for name in ("nodes", "logs"):
            (self.run / name).mkdir()
        self._names: set[str] = set()
        self.beat()

    def new_nodes(self) -> list[NodeChannel]:
        """The nodes that have registered since the last call."""
        channels = []
        with suppress(OSError):  # of a network disk; tried again at the next look
            for folder in sorted((self.run / "nodes").iterdir()):
                if folder.name.startswith(".") or folder.name in self._names:
                    continue
                if (registration := _read_registration(folder)) is not None:
                    self._names.add(folder.name)
                    channels.append(NodeChannel(self.run, folder.name, registration))
        return channels

    def beat(self) -> None:
        """Show the nodes that the controller lives. Raises OSError."""
        touch(self.run / "heartbeat")

    def earlier_tokens(self) -> list[str]:
        """Names of the runs of earlier controllers."""
        return [run.name for run in self._earlier_runs]

    def remove_earlier_runs(self) -> None:
        """Remove the folders of earlier runs, once their jobs are cancelled."""
        for run in self._earlier_runs:
            shutil.rmtree(run, ignore_errors=True)

    def close(self) -> None:
        """End the run: all nodes end by themselves when they see it."""
        with suppress(OSError):
            touch(self.run / "closed")


def _read_registration(folder: Path) -> NodeRegistration | None:
    try:
        return NodeRegistration.model_validate_json((folder / "registration.json").read_bytes())
    except (OSError, ValidationError):
        return None
