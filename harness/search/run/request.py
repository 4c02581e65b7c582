"""Options of one run of a study, and what follows from them: space, name, slots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import ConfigError
from harness.core.paths import Workspace, check_study_name
from harness.execution.slots import Slot, plan_slots, visible_gpus
from harness.space.reading.load_space import find_space


@dataclass(frozen=True)
class StudyRequest:
    """What the user asked for; None means: as recorded, else the default."""

    workspace: Workspace
    study: str | None = None
    space: str | Mapping[str, Any] | None = None
    trials: int | None = None
    device: str = "auto"
    gpus: str | None = None
    per_gpu: int | None = None
    workers: int | None = None
    skip_bad: bool = False
    parts: Path | None = None
    objective: str | None = None  # the metric
    label: Sequence[str] = ()  # columns of a CSV space
    ignore: Sequence[str] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)  # full keys of study.yaml
    fixed: Mapping[str, Any] = field(default_factory=dict)  # full keys of the trial configuration
    import_from: Sequence[str] = ()  # names of earlier studies
    timeout_s: float | None = None  # for this call
    storage: str | None = None  # address of another database than the workspace's optuna.db
    tracking_uri: str | None = None  # of another MLflow store than the workspace's own
    experiment: str | None = None  # name of the study's experiment there


def resolve_space(request: StudyRequest) -> Path | Mapping[str, Any] | None:
    """The space asked for: a name is looked for and becomes a path."""
    if isinstance(request.space, str):
        return find_space(request.space, request.workspace)
    return request.space


def choose_study_name(request: StudyRequest, space: Path | Mapping[str, Any] | None) -> str:
    """Name of the study: `--study`, or the stem of the space file.

    Raises:
        ConfigError: neither was given, or the name is not legal.
    """
    if request.study is not None:
        return check_study_name(request.study)
    if isinstance(space, Path):
        return check_study_name(space.stem)
    raise ConfigError("the study needs a name: give --study, or a --space file to name it after")


def plan_request_slots(request: StudyRequest) -> tuple[Slot, ...]:
    """Where trials are to run at once."""
    return plan_slots(
        device=request.device,
        gpus=request.gpus,
        per_gpu=request.per_gpu,
        workers=request.workers,
        visible=visible_gpus(torch.cuda.device_count()),
        threads=torch.get_num_threads(),
    )
