"""Disk use of a workspace by study and kind of file."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths, TrialPaths, Workspace
from harness.core.text import count, format_bytes
from harness.maintenance.indexes import (
    IndexOptions,
    describe_missing_entries,
    find_copy,
    read_study_id,
)
from harness.maintenance.listing import walk_files
from harness.maintenance.operations import deleted_folders, staging_folders

FileKind = Literal["weights", "checkpoints", "predictions", "overlays", "records"]
KINDS: tuple[FileKind, ...] = ("weights", "checkpoints", "predictions", "overlays", "records")


@dataclass(frozen=True)
class StudyDiskUse:
    """Bytes of one study by kind, and those of its files in the workspace's mlruns/."""

    name: str
    kinds: dict[FileKind, int]
    mlflow: int

    @property
    def total(self) -> int:
        return sum(self.kinds.values()) + self.mlflow


@dataclass(frozen=True)
class DiskUse:
    """Bytes of a workspace.

    Attributes:
        cache: decoded images, which any command decodes again.
        leftovers: files of killed commands, and damaged databases that were replaced.
    """

    studies: tuple[StudyDiskUse, ...]
    cache: int
    leftovers: int


def measure_disk_use(workspace: Workspace) -> DiskUse:
    """Measure every study, the largest first, and what lies beside them."""
    folders = [StudyPaths(path.parent) for path in workspace.studies.glob("*/study.yaml")]
    studies = [measure_study(workspace, paths) for paths in folders]
    return DiskUse(
        studies=tuple(sorted(studies, key=lambda use: (-use.total, use.name))),
        cache=folder_bytes(workspace.cache),
        leftovers=sum(folder_bytes(path) for path in leftover_paths(workspace)),
    )


def measure_study(workspace: Workspace, paths: StudyPaths) -> StudyDiskUse:
    """Bytes of one study by kind."""
    kinds: dict[FileKind, int] = dict.fromkeys(KINDS, 0)
    for folder in (paths, paths.confirm):
        for trial in folder.all_trials():
            for kind, trial_paths in trial_files(trial).items():
                kinds[kind] += sum(folder_bytes(path) for path in trial_paths)
    kinds["records"] = folder_bytes(paths.root) - sum(kinds.values())
    try:
        study_id = read_study_id(paths)
    except (ConfigError, OSError):
        study_id = None
    mlflow = 0 if study_id is None else folder_bytes(workspace.mlruns / study_id)
    return StudyDiskUse(paths.name, kinds, mlflow)


def trial_files(trial: TrialPaths) -> dict[FileKind, list[Path]]:
    """Files and folders of a trial that may be removed, by kind."""
    return {
        "weights": [trial.model],
        "checkpoints": [trial.checkpoint, trial.checkpoint_previous],
        "predictions": [trial.probabilities],
        "overlays": [trial.overlays],
    }


def folder_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; 0 if it does not exist."""
    if path.is_file() and not path.is_symlink():
        return path.stat().st_size
    n_bytes = 0
    for entry in walk_files(path):
        try:
            n_bytes += entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
    return n_bytes


def leftover_paths(workspace: Workspace) -> Iterator[Path]:
    """Interrupted deletions and restorings, and damaged databases that were replaced."""
    for paths in (*deleted_folders(workspace), *staging_folders(workspace)):
        yield paths.root
    for database in (workspace.optuna_db, workspace.mlflow_db):
        for path in sorted(workspace.root.glob(f"{database.name}.damaged-*")):
            if path.is_file() and not path.is_symlink():
                yield path


def describe_study(workspace: Workspace, paths: StudyPaths, options: IndexOptions) -> list[str]:
    """Lines about everything that the deletion of a study removes."""
    use = measure_study(workspace, paths)
    n_confirming = len(paths.confirm.all_trials())
    confirming = f", {count(n_confirming, 'confirming trial')}" if n_confirming else ""
    lines = [
        f"{paths.root}: {count(len(paths.all_trials()), 'trial')}{confirming}, "
        f"{format_bytes(use.total - use.mlflow)}",
        *(f"  {kind}: {format_bytes(size)}" for kind, size in use.kinds.items() if size),
    ]
    if paths.test_ledger.exists():
        lines.append("  the ledger of its evaluations on test images")
    with suppress(UserError, OSError):  # a damaged study.yaml is reported before anything goes
        if (copy := find_copy(workspace, paths)) is not None:
            return [*lines, f"Optuna and MLflow keep its entries: study {copy.name} has its id"]
    lines.append("its studies in Optuna, its experiment and registered model in MLflow")
    if use.mlflow:
        lines.append(f"  artifacts: {format_bytes(use.mlflow)}")
    with suppress(UserError, OSError):  # as above
        lines += describe_missing_entries(workspace, paths, options)
    return lines
