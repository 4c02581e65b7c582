"""What an interrupted training left behind, if it can be continued."""

import json
import shutil
from dataclasses import dataclass
from typing import Any

from harness import files
from harness.config import TrialConfig
from harness.paths import TrialPaths
from harness.records import read_epochs
from harness.training.checkpoint import read_checkpoint

Line = dict[str, float]  # one line of epochs.jsonl


@dataclass(frozen=True)
class Resumed:
    """A checkpoint's state, and the log up to its epoch."""

    state: dict[str, Any]
    log: list[Line]


def identity(config: TrialConfig, seed: int) -> dict[str, Any]:
    """What a checkpoint must agree with to be continued."""
    return {"config": config.flat(), "seed": seed}


def read_resumable(paths: TrialPaths, expected: dict[str, Any]) -> Resumed | None:
    """The state to go on from; None if the training must begin anew.

    Passed over are checkpoints of another configuration or seed, and those that reach further
    than the log.
    """
    state = read_checkpoint(paths)
    if state is None or state["identity"] != expected:
        return None
    log = read_epochs(paths)[: state["epoch"]]
    if [int(line["epoch"]) for line in log] != [*range(1, state["epoch"] + 1)]:
        return None
    return Resumed(state, log)


def cut_log(paths: TrialPaths, log: list[Line]) -> None:
    """Cut epochs.jsonl to these lines; a torn end goes with the rest."""
    if paths.epochs_jsonl.exists():
        files.write_text(paths.epochs_jsonl, "".join(f"{json.dumps(line)}\n" for line in log))


def remove_torn(paths: TrialPaths) -> None:
    """Remove what a killed worker was writing when it died; each may be as large as a network."""
    of_worker = (".checkpoint.*.tmp", ".epochs.jsonl.*.tmp", "best/.*.tmp")
    for torn in (found for pattern in of_worker for found in paths.root.glob(pattern)):
        if torn.is_dir():
            shutil.rmtree(torn, ignore_errors=True)
        else:
            torn.unlink(missing_ok=True)
