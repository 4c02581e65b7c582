"""Messages between controller and worker: JSON lines, one message each.

The controller sends a worker a `TrialTask`. The worker sends `TrialStarted`, one `EpochReport` per
epoch (each waits for an `EpochReply`) and at last `TrialFinished` or `TrialFailed`;
`MicroBatchReduced`, `WorkerNotice` and `StepReport` may come between. The executor itself adds
`WorkerDied` for a worker process that ended without a last message.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from harness.config.data import StudyDataConfig
from harness.config.study import ObjectiveConfig, TrialConfig
from harness.core.records import TrialFailure, TrialResult

Decision = Literal["continue", "prune", "stop"]


class ProtocolMessage(BaseModel):
    """One line of JSON between a controller and a worker; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TrialTask(ProtocolMessage):
    """Everything that a worker needs to train one trial; it never opens a database."""

    kind: Literal["task"] = "task"
    number: int
    attempt: int
    config: TrialConfig
    seed: int
    objective: ObjectiveConfig
    trial_dir: Path
    data_root: Path
    split_csv: Path
    cache: Path
    augments: Path
    parts: Path | None = None  # registered before this task is read, as `config` may name them
    parts_sha256: str | None = None
    data: StudyDataConfig
    max_pixels: float
    device: str
    shares_gpu: bool = False  # with another worker of the same study
    micro_batch: int | None = None  # images per pass that an earlier attempt came down to
    data_on_device: bool = False  # hold the training images there, see `harness.training.on_device`
    report_steps: bool = False  # send `StepReport`


class EpochReply(ProtocolMessage):
    """Decision of the controller about a reported epoch."""

    kind: Literal["answer"] = "answer"
    number: int
    decision: Decision


class StopRequest(ProtocolMessage):
    """Stop the training at the next step, save it, and confirm with `TrialFinished`."""

    kind: Literal["wind_up"] = "wind_up"


class TrialStarted(ProtocolMessage):
    """The training of a trial begins, on this device."""

    kind: Literal["started"] = "started"
    number: int
    attempt: int
    device: str
    precision: str
    host: str | None = None  # of the node; None: the controller's machine

    def record_update(self) -> dict[str, Any]:
        """The fields of the trial's record that it sets."""
        return self.model_dump(include={"device", "precision", "host"})


class MicroBatchReduced(ProtocolMessage):
    """The GPU's memory ran out: training continues with `micro_batch` images per pass."""

    kind: Literal["squeezed"] = "squeezed"
    number: int
    attempt: int
    micro_batch: int


class WorkerNotice(ProtocolMessage):
    """A sentence for the user: an option has no effect in this training, and the reason."""

    kind: Literal["notice"] = "notice"
    number: int
    attempt: int
    text: str


class StepReport(ProtocolMessage):
    """Progress within an epoch, for the display; sent every few seconds.

    Attributes:
        epoch: from 1.
        step: steps of the epoch so far, of `n_steps`.
        loss: mean training loss of these steps.
    """

    kind: Literal["step"] = "step"
    number: int
    attempt: int
    epoch: int
    step: int
    n_steps: int
    loss: float


class EpochReport(ProtocolMessage):
    """One epoch has been trained and validated; `metrics` is its line in epochs.jsonl."""

    kind: Literal["epoch"] = "epoch"
    number: int
    attempt: int
    metrics: dict[str, float]

    @property
    def epoch(self) -> int:
        return int(self.metrics["epoch"])


class TrialFinished(ProtocolMessage):
    """Training has ended, with this result."""

    kind: Literal["ended"] = "ended"
    number: int
    attempt: int
    result: TrialResult


class TrialFailed(ProtocolMessage):
    """The trial could not be trained; the worker process continues.

    Attributes:
        full_folder: the folder whose disk is full, if that is the cause and the folder is known;
            `HOST:FOLDER` if it is on another machine than the controller.
    """

    kind: Literal["failed"] = "failed"
    number: int
    attempt: int
    failure: TrialFailure
    full_folder: Path | None = None


class WorkerDied(ProtocolMessage):
    """The worker process ended without a last message; negative exit codes are signals.

    Attributes:
        log_tail: the end of its log.
        out_of_memory: the kernel has killed for lack of memory since the process was started.
    """

    kind: Literal["vanished"] = "vanished"
    number: int
    attempt: int
    exit_code: int | None
    log_tail: str
    out_of_memory: bool = False


Event = (
    TrialStarted
    | MicroBatchReduced
    | WorkerNotice
    | StepReport
    | EpochReport
    | TrialFinished
    | TrialFailed
    | WorkerDied
)
EVENT_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


class Executor(Protocol):
    """Trains trials, on one machine or a cluster; the controller sees no difference."""

    @property
    def slots(self) -> int:
        """Number of trials that can run simultaneously; on a cluster it may change."""
        ...

    @property
    def waiting(self) -> frozenset[int]:
        """Numbers of the started trials that no worker trains yet, so that they cannot hang."""
        ...

    def start(self, task: TrialTask) -> None:
        """Send a task to a free slot. Only a trial whose worker died may find none, and waits."""
        ...

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        """Wait for the next event of any trial; None after `timeout_s`."""
        ...

    def answer(self, number: int, decision: Decision) -> None:
        """Send the decision about the epoch that trial `number` has just reported."""
        ...

    def kill_trial(self, number: int) -> str:
        """Kill the worker of trial `number`, which ends the trial's attempt.

        Returns:
            The end of its log, with the stack of each of its threads.
        """
        ...

    def request_stop(self) -> None:
        """Request every trial to stop at its next step; each ends as "stopped", resumable."""
        ...

    def close(self) -> None:
        """Kill all workers immediately. Their trials can be continued from their checkpoints."""
        ...


def encode_message(message: ProtocolMessage) -> bytes:
    """Encode a message as one line of JSON."""
    return message.model_dump_json().encode("utf-8") + b"\n"


def numeric_values(epoch_line: dict[str, Any]) -> dict[str, float]:
    """Select the numbers of an epoch's line."""
    return {key: value for key, value in epoch_line.items() if isinstance(value, int | float)}
