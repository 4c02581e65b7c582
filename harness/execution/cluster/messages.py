"""Messages between the controller of a study and the agents on the nodes of a cluster.

Bytes of files travel beside these messages, in chunks, so that no message grows with a network.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, Field

from harness.execution.protocol import Event, ProtocolMessage, TrialTask

CHUNK_BYTES = 8 * 2**20  # largest part of a file that is in memory, on either side
_MAX_PATH_CHARS = 1000
_DRIVE = re.compile(r"[A-Za-z]:")


def check_relative_path(path: str) -> str:
    """Return a path from the other side if it stays inside its folder on every system.

    Raises:
        ValueError: it is absolute, leaves the folder, or has parts that some system interprets.
    """
    parts = path.split("/")
    if (
        len(path) > _MAX_PATH_CHARS
        or any(part in {"", ".", ".."} for part in parts)
        or any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts)
        or "\\" in path
        or not path.isprintable()
        or _DRIVE.match(path)
    ):
        raise ValueError(f"{path[:100]!r}: not a relative path inside its folder")
    return path


InnerPath = Annotated[str, AfterValidator(check_relative_path)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FolderKey = Annotated[str, Field(pattern=r"^[0-9a-z-]{8,80}$")]  # also a folder's name on the node


class FileEntry(ProtocolMessage):
    """One file of a folder, with what proves that it arrived whole."""

    path: InnerPath
    size: int = Field(ge=0)
    sha256: Sha256


class SharedProbe(ProtocolMessage):
    """A file of random content: a node that reads the same content shares that disk."""

    path: Path
    token: Sha256


FolderKind = Literal["cache", "study", "weights"]


class ContentFolder(ProtocolMessage):
    """Folder that never changes under its key.

    Attributes:
        kind: "cache": decoded images; "study": split, augmentation and user-defined parts;
            "weights": files of the Hugging Face cache, by their path below its `hub`.
        root: the folder on the controller's machine.
        probe: shows whether a node shares it; None: compare the hashes of its files.
    """

    key: FolderKey
    kind: FolderKind
    root: Path
    files: tuple[FileEntry, ...]
    probe: SharedProbe | None = None


class TaskInputs(ProtocolMessage):
    """A task with all that a node without the controller's disk needs for it.

    Attributes:
        task: paths are those of the controller's machine.
        study_id: separates the checkpoints of studies that use one `--scratch`.
        folders: at most one of each kind.
        files: files of the trial's folder to continue from; read with the key `trial_key`.
        record: text of trial.json. Not one of `files`, as other threads may rewrite that one.
        shared_probe: file in the study's folder; None: the disk is never shared.
    """

    task: TrialTask
    study_id: FolderKey
    folders: tuple[ContentFolder, ...] = ()
    files: tuple[FileEntry, ...] = ()
    record: str
    shared_probe: SharedProbe | None = None

    @property
    def trial_key(self) -> str:
        """Key of the trial's folder in this attempt."""
        return f"trial-{self.task.number}-{self.task.attempt}"

    def folder(self, kind: FolderKind) -> ContentFolder | None:
        """The folder of a kind; None if the task needs none."""
        return next((folder for folder in self.folders if folder.kind == kind), None)


class InputSource(Protocol):
    """Collects what tasks need on a node without the controller's disk."""

    @property
    def study(self) -> Path:
        """Folder of the study."""
        ...

    @property
    def uses_weights(self) -> bool:
        """True if tasks may need pretrained weights."""
        ...

    def build(self, task: TrialTask) -> TaskInputs:
        """Collect the inputs of a task. Raises DataError, WeightsError; any thread may call it."""
        ...

    def close(self) -> None:
        """Remove the files that it has written for its own use."""
        ...


class NodeFacts(ProtocolMessage):
    """Description of a node.

    Attributes:
        versions: by distribution name, and `python`.
        devices: e.g. "cuda (NVIDIA T4)"; those that the agent's worker can use.
        precision: that `train.precision: auto` means on the first device; None: not known before
            a scheduler has chosen the node, whose worker then decides.
        memory: bytes of memory of the node; None: not known.
        cpus: processors that the agent may use.
        pid: process id of the agent.
    """

    host: str
    versions: dict[str, str]
    devices: tuple[str, ...]
    precision: str | None
    memory: int | None
    cpus: int
    pid: int


class FileChunk(ProtocolMessage):
    """Description of one part of a file that an agent sends to the controller.

    A file is sent as one or more chunks in order; the last one carries the hash of all.

    Attributes:
        mode: "replace" the file; "append" to it; "rotate": replace it, the present one becomes
            `<path>.previous`.
        begin: size that the file must have on the controller's disk before an append.
        offset: of this chunk in the transfer.
        size: bytes of the whole transfer.
        sha256: of the whole transfer, in its last chunk only.
    """

    number: int
    attempt: int
    path: InnerPath
    mode: Literal["replace", "append", "rotate"]
    begin: int = Field(0, ge=0)
    offset: int = Field(ge=0)
    size: int = Field(ge=0)
    sha256: Sha256 | None = None


class ChunkReply(ProtocolMessage):
    """Answer of the controller's side to a chunk.

    Attributes:
        status: "accepted"; "torn": the transfer does not add up and must start again; "conflict":
            the file to append to has another size, send all of it; "stale": another attempt has
            begun, send nothing more; "full": the controller's disk is full; "refused": never.
        folder: the full folder.
    """

    status: Literal["accepted", "torn", "conflict", "stale", "full", "refused"]
    message: str = ""
    folder: Path | None = None


class AgentReport(ProtocolMessage):
    """An event of the worker; the files that it tells of are on the controller's disk already.

    Attributes:
        event: None for a report that only carries a note.
        files: paths in the trial's folder that were sent since the last report.
        n_bytes: their bytes on the link.
        link_rate: bytes per second of the last transfers; None: not measured yet.
        note: a line for the user.
    """

    event: Event | None = Field(None, discriminator="kind")
    files: tuple[InnerPath, ...] = ()
    n_bytes: int = 0
    link_rate: float | None = None
    note: str | None = None
