"""What a controller and a worker say to each other: JSON lines, one message each.

The controller hands a worker a `TrialTask`. The worker answers with `TrialStarted`, one
`EpochReport` per
epoch (each waits for a decision) and a last `TrialFinished` or `Failed`; `MicroBatchReduced` may
come between. `WorkerDied` is the executor's word for a worker that left without one.
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
    """All a worker needs to train one trial; it never sees a database."""

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
    micro_batch: int | None = None  # images at once that an earlier attempt came down to


class EpochReply(ProtocolMessage):
    """What a worker is to do after an epoch."""

    kind: Literal["answer"] = "answer"
    number: int
    decision: Decision


class StopRequest(ProtocolMessage):
    """Stop what is being trained at the next step, save it, and say so with `TrialFinished`."""

    kind: Literal["wind_up"] = "wind_up"


class TrialStarted(ProtocolMessage):
    """Training begins, on this device."""

    kind: Literal["started"] = "started"
    number: int
    attempt: int
    device: str
    precision: str


class MicroBatchReduced(ProtocolMessage):
    """The GPU's memory ran out: training goes on, `micro_batch` images at a time."""

    kind: Literal["squeezed"] = "squeezed"
    number: int
    attempt: int
    micro_batch: int


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
    """The trial could not be trained; the worker lives on.

    `full_folder`: the folder whose disk is full, where that is the cause and known.
    """

    kind: Literal["failed"] = "failed"
    number: int
    attempt: int
    failure: TrialFailure
    full_folder: Path | None = None


class WorkerDied(ProtocolMessage):
    """The worker process ended without a word; negative exit codes are signals.

    `out_of_memory`: the kernel has killed for want of memory since the process was started.
    """

    kind: Literal["vanished"] = "vanished"
    number: int
    attempt: int
    exit_code: int | None
    log_tail: str
    out_of_memory: bool = False


Event = TrialStarted | MicroBatchReduced | EpochReport | TrialFinished | TrialFailed | WorkerDied
EVENT_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


class Executor(Protocol):
    """Where trials are trained. One machine or a cluster: the controller sees no difference."""

    @property
    def slots(self) -> int:
        """How many trials may run at once."""
        ...

    def start(self, task: TrialTask) -> None:
        """Hand a task to a free slot. Starting more tasks than slots is a bug."""
        ...

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        """The next event of any trial; None when the time is up."""
        ...

    def answer(self, number: int, decision: Decision) -> None:
        """Answer the epoch that trial `number` has just reported."""
        ...

    def kill_trial(self, number: int) -> str:
        """End the worker of trial `number` for good, and with it the trial's attempt.

        Returns:
            The last it wrote to its log, with where each of its threads was.
        """
        ...

    def request_stop(self) -> None:
        """Ask every trial to stop at its next step: each ends as "stopped", to be continued."""
        ...

    def close(self) -> None:
        """End all workers at once. What they were training can be continued."""
        ...


def encode_message(message: ProtocolMessage) -> bytes:
    """One message as one line of JSON."""
    return message.model_dump_json().encode("utf-8") + b"\n"


def numeric_values(epoch_line: dict[str, Any]) -> dict[str, float]:
    """The numbers of an epoch's line."""
    return {key: value for key, value in epoch_line.items() if isinstance(value, int | float)}
