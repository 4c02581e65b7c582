"""Record of one trial, `trial.json` and `epochs.jsonl`; databases and tables are built from it."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.core import files
from harness.core.errors import ConfigError
from harness.core.paths import StudyPaths, TrialPaths

TrialState = Literal["running", "complete", "pruned", "failed"]
Outcome = Literal["complete", "pruned", "stopped"]
FINISHED_STATES: tuple[TrialState, ...] = ("complete", "pruned", "failed")
ParameterValue = str | int | float | bool | None


class TrialFailure(BaseModel):
    """Cause of the failure of a trial."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    # out_of_memory (of the GPU), host_out_of_memory, shared_memory, diverged, bad_data,
    # bad_configuration, hung, crashed, disk_full
    cause: str
    message: str
    traceback: str | None = None


class TrialResult(BaseModel):
    """Result of a training, from the worker's loop to the trial's record.

    Attributes:
        outcome: "stopped": interrupted; the next run continues from the checkpoint.
        value: objective metric of the best epoch; None before the first epoch.
        best_epoch: from 1; None before the first epoch.
        best: metrics of the best epoch, keys `best/…`.
        costs: keys `cost/…`; absent if they could not be measured.
        class_weights: by class, if they were computed from the training masks.
        draws: images or windows that an epoch trains on, if that is not each image once.
        seam_index: seam index of prediction by tiles, on validation images; None for whole images,
            or if no border can be compared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    outcome: Outcome
    value: float | None
    best_epoch: int | None
    best: dict[str, float]
    costs: dict[str, float]
    class_weights: dict[str, float] = {}
    draws: int | None = None
    seam_index: float | None = None

    def record_update(self) -> dict[str, Any]:
        """The fields of `TrialRecord` that this result sets; the outcome becomes its state."""
        fields = self.model_dump()
        return {"state": fields.pop("outcome"), **fields}


class TrialRecord(BaseModel):
    """Present state of one trial: `trial.json`. Times are UTC, ISO 8601; durations in seconds.

    Field names are on disk, in studies of earlier versions too. A new field needs a default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    study: str
    number: int
    state: TrialState
    params: dict[str, ParameterValue]  # searched parameters by full key; absent where not active
    distributions: dict[str, dict[str, Any]]  # Optuna's JSON of each parameter's distribution
    labels: dict[str, str] = {}  # tags of its row, if the space is a list of rows
    epochs: int  # planned
    seed: int
    attempt: int = 1  # a worker of an earlier attempt stops as soon as it reads a higher number
    judged: int = 0  # number of epochs that the pruner had evaluated when this attempt began
    pruned_after: int | None = None  # epoch after which the pruner stopped the trial
    second_chance: int | None = None  # epoch after which it was stopped, before it continued
    micro_batch: int | None = None  # images per pass, if a complete batch did not fit into memory
    value: float | None = None  # objective metric of the best epoch; None before the first epoch
    best_epoch: int | None = None  # from 1
    best: dict[str, float] = {}  # metrics of the best epoch, keys as in epochs.jsonl
    costs: dict[str, float] = {}  # by `cost/<name>`, see config.measurements
    class_weights: dict[str, float] = {}  # computed from the training masks
    draws: int | None = None  # images or windows in an epoch, if that is not each image once
    seam_index: float | None = None  # rate of changing decisions at borders of windows / elsewhere
    device: str | None = None  # e.g. "cuda (NVIDIA T4)", "cpu"
    precision: str | None = None  # bf16, fp16, fp32
    host: str | None = None  # node of a cluster; None: the controller's machine
    versions: dict[str, str] = {}
    git_commit: str | None = None
    started: str | None = None
    ended: str | None = None
    failure: TrialFailure | None = None
    mlflow_run_id: str | None = None  # in the store to which it was copied last
    imported: str | None = None  # "<study>/<number>" of its source; None: trained in this study
    repeats: int | None = None  # number of the first trial with equal settings except the seed


def write_record(paths: TrialPaths, record: TrialRecord) -> None:
    """Write `trial.json` atomically."""
    files.write_json(paths.trial_json, record.model_dump(mode="json"))


def read_record(path: Path) -> TrialRecord:
    """Read a `trial.json`. Raises ConfigError if it is damaged or from a newer version."""
    try:
        return TrialRecord.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a trial record: {error}") from error


def read_records(study: StudyPaths) -> list[TrialRecord]:
    """Read the records of all trials of a study, in order of number."""
    return [read_record(trial.trial_json) for trial in study.all_trials()]


def count_ended_trials(study: StudyPaths) -> int:
    """Number of trials that this study trained to an end, failed and pruned ones included."""
    # From the folders: the database may be lost, and is opened only after preflight.
    own = (record for record in read_records(study) if record.imported is None)
    return sum(record.state != "running" for record in own)


def read_epochs(paths: TrialPaths) -> list[dict[str, float]]:
    """Read the epoch log of a trial: for each epoch `epoch` (from 1), `time_ms` and metrics.

    Raises:
        ConfigError: it is damaged.
    """
    # Epochs after the last checkpoint are trained again after a kill; the last line counts.
    lines = files.read_jsonl(paths.epochs_jsonl)
    try:
        return [line for _, line in sorted({int(line["epoch"]): line for line in lines}.items())]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{paths.epochs_jsonl}: not an epoch log: {error!r}") from error
