"""State of an interrupted training: read it if it can be continued, and remove its leftovers."""

import json
import shutil
from dataclasses import dataclass
from typing import Any

from harness.config.study import TrialConfig
from harness.core import files
from harness.core.paths import TrialPaths
from harness.core.records import read_epochs
from harness.training.loop.checkpoint import read_checkpoint

EpochLine = dict[str, float]  # one line of epochs.jsonl


@dataclass(frozen=True)
class ResumableState:
    """State of a checkpoint, and the log up to its epoch."""

    state: dict[str, Any]
    log: list[EpochLine]


def checkpoint_identity(config: TrialConfig, seed: int) -> dict[str, Any]:
    """Configuration and seed, which must equal those of a checkpoint to continue from it."""
    return {"config": config.flat(), "seed": seed}


def _with_later_settings(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity of a checkpoint, with defaults for settings that its version did not have."""
    return {**identity, "config": TrialConfig().flat() | identity["config"]}


def read_resumable(paths: TrialPaths, expected: dict[str, Any]) -> ResumableState | None:
    """Read the state to continue from; None if the training must start from the beginning.

    Checkpoints of another configuration or seed are ignored, and those with more epochs than the
    log: the metrics of the missing epochs would be lost.
    """
    state = read_checkpoint(paths)
    if state is None or _with_later_settings(state["identity"]) != expected:
        return None
    # Checkpoints are rarer than lines of the log (train.checkpoint_s), so the log may be longer:
    # those epochs are trained again.
    log = read_epochs(paths)[: state["epoch"]]
    if [int(line["epoch"]) for line in log] != [*range(1, state["epoch"] + 1)]:
        return None
    return ResumableState(state, log)


def truncate_log(paths: TrialPaths, log: list[EpochLine]) -> None:
    """Cut epochs.jsonl to these lines, which also removes an incomplete last line."""
    if paths.epochs_jsonl.exists():
        files.write_text(paths.epochs_jsonl, "".join(f"{json.dumps(line)}\n" for line in log))


def remove_partial_files(paths: TrialPaths) -> None:
    """Remove temporary files of a killed worker; each may be as large as a network."""
    patterns = (".checkpoint.*.tmp", ".epochs.jsonl.*.tmp", "best/.*.tmp")
    for partial_path in (path for pattern in patterns for path in paths.root.glob(pattern)):
        if partial_path.is_dir():
            shutil.rmtree(partial_path, ignore_errors=True)
        else:
            partial_path.unlink(missing_ok=True)
