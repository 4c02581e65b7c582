"""Remove files that can be spared; every one goes whole, and records stay."""

import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from harness.config.study_files import read_study_config, require_study_yaml
from harness.core.errors import HarnessError, UserError, suggest_nearest
from harness.core.paths import StudyPaths, Workspace
from harness.core.records import read_records
from harness.core.study_lock import hold_study_lock, is_study_locked
from harness.core.text import format_bytes
from harness.maintenance.complete import complete_operations
from harness.maintenance.disk_use import FileKind, folder_bytes, leftover_paths, trial_files
from harness.maintenance.operations import (
    deleted_folder,
    deleted_folders,
    folder_study,
    move_folder,
    staging_folders,
)

CleanKind = Literal["leftovers", "cache", "checkpoints", "overlays", "predictions", "weights"]
CLEAN_KINDS: tuple[CleanKind, ...] = get_args(CleanKind)
# Nothing that a result needs: the others are removed only by name.
DEFAULT_KINDS: tuple[CleanKind, ...] = ("leftovers", "cache", "checkpoints")
MEANING: dict[CleanKind, str] = {
    "leftovers": "of killed commands, and replaced databases",
    "cache": "decoded images; the next command decodes them again",
    "checkpoints": "of trials that have ended, in studies that are complete",
    "overlays": "pictures per epoch; MLflow has copies",
    "predictions": "stored probabilities; the report loses its sample pictures",
    "weights": "models; test, predict, export and app need them",
}


_MOVED = "_removed"  # no study can have this name


@dataclass(frozen=True)
class Removal:
    """Files of one kind that may go.

    Attributes:
        study: name of the study; None: of the workspace.
    """

    kind: CleanKind
    study: str | None
    paths: tuple[Path, ...]
    n_bytes: int

    @property
    def line(self) -> str:
        """Size, kind and reason, in one line."""
        owner = "" if self.study is None else f" of study {self.study}"
        return f"{format_bytes(self.n_bytes)}  {self.kind}{owner} ({MEANING[self.kind]})"


def plan_removals(
    workspace: Workspace, kinds: Sequence[str] = (), study: str | None = None
) -> list[Removal]:
    """Files that may go; those of running studies are left out.

    Args:
        workspace: the workspace.
        kinds: of CLEAN_KINDS; (): those of DEFAULT_KINDS.
        study: name of a study; None: all studies, and the workspace itself.

    Raises:
        ConfigError: unknown study.
        UserError: unknown kind, or weights are to go without the name of a study.
    """
    for kind in kinds:
        if kind not in CLEAN_KINDS:
            raise UserError(f"--remove {kind}: unknown{suggest_nearest(kind, CLEAN_KINDS)}")
    if "weights" in kinds and study is None:
        raise UserError("--remove weights: name the study with --study")
    selected = [kind for kind in CLEAN_KINDS if kind in (kinds or DEFAULT_KINDS)]
    if study is None:
        studies = [
            StudyPaths(path.parent) for path in sorted(workspace.studies.glob("*/study.yaml"))
        ]
    else:
        require_study_yaml(paths := workspace.study(study))
        studies = [paths]
    idle = [paths for paths in studies if not is_study_locked(paths)]
    removals = [_plan_kind(paths, kind) for kind in selected for paths in idle]
    if study is None:
        removals += _plan_workspace(workspace, selected, all_idle=len(idle) == len(studies))
    return [removal for removal in removals if removal.n_bytes > 0]


def remove(workspace: Workspace, removals: Sequence[Removal], log: Callable[[str], None]) -> int:
    """Remove what was planned; a study that runs meanwhile is left out.

    Returns:
        The bytes that became free.
    """
    _remove_moved(workspace)  # by a call that was killed
    n_bytes = 0
    for removal in removals:
        try:
            n_bytes += _remove_one(workspace, removal, log)
        except HarnessError as error:
            log(f"left: {removal.line}: {error}")
    return n_bytes


def _plan_kind(paths: StudyPaths, kind: CleanKind) -> Removal:
    removable_paths: list[Path] = []
    if kind in ("checkpoints", "overlays", "predictions", "weights"):
        with suppress(UserError):  # a damaged study is left as it is
            for folder in (paths, paths.confirm):
                removable_paths += _trial_paths(folder, kind)
    return Removal(
        kind, paths.name, tuple(removable_paths), sum(map(folder_bytes, removable_paths))
    )


def _trial_paths(folder: StudyPaths, kind: FileKind) -> list[Path]:
    """Existing files of that kind of all trials that have ended."""
    ended = [record for record in read_records(folder) if record.state != "running"]
    if kind == "checkpoints" and not _is_complete(folder, len(ended)):
        return []  # failed trials and second chances continue from them
    paths = [path for record in ended for path in trial_files(folder.trial(record.number))[kind]]
    return [path for path in paths if path.exists() and not path.is_symlink()]


def _is_complete(folder: StudyPaths, n_ended: int) -> bool:
    if not folder.study_yaml.is_file():
        return False
    n_asked = read_study_config(folder).budget.trials
    return n_asked is not None and n_ended >= n_asked


def _plan_workspace(
    workspace: Workspace, kinds: Sequence[CleanKind], *, all_idle: bool
) -> list[Removal]:
    removals = []
    if "leftovers" in kinds:
        removable_paths = tuple(leftover_paths(workspace))
        removals.append(
            Removal("leftovers", None, removable_paths, sum(map(folder_bytes, removable_paths)))
        )
    cache = workspace.cache
    # A running study reads the cache.
    if "cache" in kinds and all_idle and cache.is_dir() and not cache.is_symlink():
        removals.append(Removal("cache", None, (cache,), folder_bytes(cache)))
    return removals


def _remove_one(workspace: Workspace, removal: Removal, log: Callable[[str], None]) -> int:
    if removal.study is not None:
        paths = workspace.study(removal.study)
        require_study_yaml(paths)
        with hold_study_lock(paths):
            return sum(_remove_path(workspace, path) for path in removal.paths)
    if removal.kind == "cache":
        with ExitStack() as locks:  # no study starts meanwhile
            for path in sorted(workspace.studies.glob("*/study.yaml")):
                locks.enter_context(hold_study_lock(StudyPaths(path.parent)))
            return sum(_remove_path(workspace, path) for path in removal.paths)
    for name in {folder_study(moved) for moved in deleted_folders(workspace)} - {_MOVED}:
        complete_operations(workspace, name, log)
    for staging in staging_folders(workspace):
        if not is_study_locked(staging):
            shutil.rmtree(staging.root)
    for path in removal.paths:
        if path.is_file():
            path.unlink()
    return removal.n_bytes - sum(map(folder_bytes, removal.paths))


def _remove_path(workspace: Workspace, path: Path) -> int:
    """Remove a file, or a folder as a whole: it is moved aside before its files go.

    Returns:
        The bytes that became free.
    """
    n_bytes = folder_bytes(path)
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return n_bytes
    moved = deleted_folder(workspace, _MOVED, secrets.token_hex(8)).root
    try:
        move_folder(path, moved)
    except OSError:  # on another disk, as a link to a cache may be
        shutil.rmtree(path)
        return n_bytes
    _remove_moved(workspace)
    return n_bytes


def _remove_moved(workspace: Workspace) -> None:
    """Remove everything that was moved aside, by this call or by one that was killed."""
    for moved in deleted_folders(workspace, _MOVED):
        shutil.rmtree(moved.root, ignore_errors=True)  # another process may do the same
        with suppress(OSError):  # a study is being deleted
            moved.root.parent.rmdir()
