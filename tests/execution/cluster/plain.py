"""Inputs of a task for tests without images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.config.data import StudyDataConfig
from harness.config.study import ObjectiveConfig, TrialConfig
from harness.execution.cluster.file_transfer import describe_file
from harness.execution.cluster.messages import ContentFolder, SharedProbe, TaskInputs
from harness.execution.protocol import TrialTask

STUDY_ID = "0123456789abcdef0123456789abcdef"
NOWHERE = Path("/far-away")


def plain_task(trial_dir: Path, **changes: Any) -> TrialTask:
    fields: dict[str, Any] = {
        "number": 0,
        "attempt": 1,
        "config": TrialConfig.from_flat({"train.epochs": 4, "train.checkpoint_s": 0.0}),
        "seed": 0,
        "objective": ObjectiveConfig(),
        "trial_dir": trial_dir,
        "data_root": NOWHERE,
        "split_csv": NOWHERE / "split.csv",
        "cache": NOWHERE,
        "augments": NOWHERE / "augment",
        "data": StudyDataConfig(eval_size=32),
        "max_pixels": 1e6,
        "device": "cpu",
    }
    return TrialTask(**(fields | changes))


def plain_inputs(
    trial_dir: Path,
    *,
    files: Sequence[str] = (),
    folders: Sequence[ContentFolder] = (),
    probe: SharedProbe | None = None,
    **changes: Any,
) -> TaskInputs:
    return TaskInputs(
        task=plain_task(trial_dir, **changes),
        study_id=STUDY_ID,
        folders=tuple(folders),
        files=tuple(describe_file(trial_dir, path) for path in files),
        record="{}",
        shared_probe=probe,
    )


def resumable(trial_dir: Path) -> list[str]:
    """The files that the controller sends for a trial that is continued."""
    names = ("epochs.jsonl", "checkpoint")
    return [name for name in names if (trial_dir / name).exists()]
