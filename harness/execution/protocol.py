"""What a controller and a worker say to each other: JSON lines, one message each.

The controller hands a worker a `TrialTask`. The worker answers with `Started`, one `EpochDone` per
epoch (each waits for a decision) and a last `Ended` or `Failed`; `Squeezed` may come between.
`Vanished` is the executor's word for a worker that left without one.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from harness.config import ObjectiveConfig, TrialConfig
from harness.data_config import StudyDataConfig
from harness.records import Failure

Decision = Literal["continue", "prune", "stop"]
Outcome = Literal["complete", "pruned", "stopped"]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrialTask(_Message):
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
    micro_batch: int | None = None  # images at once that an earlier attempt came down to


class Answer(_Message):
    """What a worker is to do after an epoch."""

    kind: Literal["answer"] = "answer"
    number: int
    decision: Decision


class WindUp(_Message):
    """Stop what is being trained at the next step, save it, and say so with `Ended`."""

    kind: Literal["wind_up"] = "wind_up"


class Started(_Message):
    """Training begins, on this device."""

    kind: Literal["started"] = "started"
    number: int
    attempt: int
    device: str
    precision: str


class Squeezed(_Message):
    """The GPU's memory ran out: training goes on, `micro_batch` images at a time."""

    kind: Literal["squeezed"] = "squeezed"
    number: int
    attempt: int
    micro_batch: int


class EpochDone(_Message):
    """One epoch has been trained and validated; `metrics` is its line in epochs.jsonl."""

    kind: Literal["epoch"] = "epoch"
    number: int
    attempt: int
    metrics: dict[str, float]

    @property
    def epoch(self) -> int:
        return int(self.metrics["epoch"])


class Ended(_Message):
    """Training is over. `best` has keys `best/…`, `costs` keys `cost/…`."""

    kind: Literal["ended"] = "ended"
    number: int
    attempt: int
    outcome: Outcome
    value: float | None
    best_epoch: int | None
    best: dict[str, float]
    costs: dict[str, float]
    class_weights: dict[str, float] = {}


class Failed(_Message):
    """The trial could not be trained; the worker lives on.

    `full`: the folder whose disk is full, where that is the cause and known.
    """

    kind: Literal["failed"] = "failed"
    number: int
    attempt: int
    failure: Failure
    full: Path | None = None


class Vanished(_Message):
    """The worker process ended without a word; negative exit codes are signals.

    `out_of_memory`: the kernel has killed for want of memory since the process was started.
    """

    kind: Literal["vanished"] = "vanished"
    number: int
    attempt: int
    exit_code: int | None
    last_words: str
    out_of_memory: bool = False


Event = Started | Squeezed | EpochDone | Ended | Failed | Vanished
EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


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

    def abandon(self, number: int) -> str:
        """End the worker of trial `number` for good, and with it the trial's attempt.

        Returns:
            The last it wrote to its log, with where each of its threads was.
        """
        ...

    def wind_up(self) -> None:
        """Ask every trial to stop at its next step: each ends as "stopped", to be continued."""
        ...

    def close(self) -> None:
        """End all workers at once. What they were training can be continued."""
        ...


def to_line(message: _Message) -> bytes:
    """One message as one line of JSON."""
    return message.model_dump_json().encode("utf-8") + b"\n"


def metrics_of(line: dict[str, Any]) -> dict[str, float]:
    """The numbers of an epoch's line."""
    return {key: value for key, value in line.items() if isinstance(value, int | float)}
