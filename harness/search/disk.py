"""Room on disk: what a study will need, and waiting where it has run out."""

import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from harness import files
from harness.config import StudyConfig
from harness.errors import StudyInterrupted, StudyStoppedError, UserError
from harness.paths import StudyPaths
from harness.search.progress import Progress
from harness.search.stopping import Stops

T = TypeVar("T")

POLL_S = 5.0
LEAST_BYTES = 20_000_000  # records, logs, databases
_SQLITE_FULL = 13
# For each parameter: weights, the best ones, their moving average, two moments of the optimiser.
_COPIES = 5
_FILES = 3  # a checkpoint, the one before, the one being written
_MOST_KEPT = 200  # validation images whose probabilities are kept of a trial


def is_disk_full(error: BaseException) -> bool:
    """Whether room on disk, or what a user may take of it, has run out; causes are looked at."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in files.FULL:
            return True
        if isinstance(seen, sqlite3.Error):
            return (getattr(seen, "sqlite_errorcode", 0) or 0) & 0xFF == _SQLITE_FULL
        seen = seen.__cause__ or seen.__context__
    return False


def checkpoint_bytes(n_parameters: int) -> int:
    """At most so much a running trial takes for its checkpoints."""
    return 4 * n_parameters * _COPIES * _FILES


def needed_bytes(config: StudyConfig, n_parameters: int, n_val: int, n_slots: int) -> int:
    """An estimate of what a study takes: checkpoints, the models and pictures it keeps, records.

    Args:
        n_parameters: of the largest network.
        n_val: validation images.
        n_slots: trials that run at once.
    """
    planes = config.data.eval_size**2 * config.data.n_outputs * min(n_val, _MOST_KEPT)
    kept = config.budget.keep * (4 * n_parameters + planes)
    return LEAST_BYTES + n_slots * checkpoint_bytes(n_parameters) + kept


def check_room(paths: StudyPaths, needed: int, free: Callable[[Path], int] | None = None) -> None:
    """Raise UserError where less is free than needed. What the study has already is counted in."""
    has = sum(f.stat().st_size for f in paths.root.rglob("*") if f.is_file() and not f.is_symlink())
    left = (free or free_bytes)(paths.root)
    if needed - has > left:
        raise UserError(
            f"{paths.root}: the study needs about {_mb(needed - has)} more, {_mb(left)} are free; "
            "make room there, or keep fewer models (budget.keep in study.yaml)"
        )


def free_bytes(folder: Path) -> int:
    """What may still be written in a folder, or where it will be made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


class Room:
    """Waits where a disk is full, and goes on when there is room.

    Args:
        folders: where the study writes.
        needed: bytes that must be free in each.
        progress: who is told.
        stops: what ends the waiting.
        free: bytes free in a folder.
        pause: waits between two looks.

    Attributes:
        n_waits: how often it has waited.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        needed: int,
        progress: Progress,
        stops: Stops,
        *,
        free: Callable[[Path], int] = free_bytes,
        pause: Callable[[], None] = lambda: time.sleep(POLL_S),
    ) -> None:
        self._folders, self._needed = folders, needed
        self._progress, self._stops = progress, stops
        self._free, self._pause = free, pause
        self.n_waits = 0

    def wait(self, what: str) -> None:
        """Say that the disk is full and wait, for one pause at least, until there is room.

        Args:
            what: happened, in few words.

        Raises:
            StudyInterrupted: a signal arrived.
            StudyStoppedError: the time or the budget ran out.
        """
        self.n_waits += 1
        shown = " and ".join(f"{f} ({_mb(self._free(f))} free)" for f in self._folders)
        self._progress.stage(
            f"disk full: {what}; waiting until {_mb(self._needed)} are free in {shown}"
        )
        while True:
            self._pause()
            stop = self._stops.look()
            if stop is not None and stop.signal is not None:
                raise StudyInterrupted(stop.signal)
            if stop is not None and stop.winds_up:
                raise StudyStoppedError(f"{stop.line}, while the disk was full")
            if all(self._free(folder) >= self._needed for folder in self._folders):
                self._progress.stage("there is room again: going on")
                return

    def patiently(self, do: Callable[[], T]) -> T:
        """What `do` gives; after a disk that was full, once more. `do` must bear repeating."""
        while True:
            try:
                return do()
            except Exception as error:
                if not is_disk_full(error):
                    raise
                self.wait(f"{type(error).__name__}: {error}".splitlines()[0][:200])


def _mb(n_bytes: int) -> str:
    return f"{max(0, n_bytes) / 1e6:,.0f} MB"
