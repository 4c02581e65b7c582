"""Sends what MLflow lacks, trial by trial; what fails is remembered, and stops nothing else."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from harness.config import StudyConfig
from harness.errors import HarnessError, TrackingError, UserError
from harness.paths import StudyPaths
from harness.search.earlier import read_config
from harness.search.lock import leading
from harness.search.mirrored import FAILURES_IN_A_ROW, STUDY, Champion, Number, record_runs
from harness.search.tracker import Tracker, redacted
from harness.search.tracking.runs import StudyWriter
from harness.search.tracking.store import (
    StoreFileError,
    explained,
    find_experiment,
    open_client,
)


class Shipper:
    """Copies one study. Not safe for threads: it belongs to the one that calls it.

    Args:
        tracker: the store.
        paths: the study's folder.
        config: its definition.
        tell: takes one line about what was found and done.

    Attributes:
        behind: trials that failed to be copied.
        error: the last one; None: there is none, or all has arrived since.
        failures: in a row.
        run_ids: MLflow's ids of the runs that were copied or found, by number of their trials.
    """

    def __init__(
        self,
        tracker: Tracker,
        paths: StudyPaths,
        config: StudyConfig,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._tracker, self._paths, self._config, self._tell = tracker, paths, config, tell
        self._writer: StudyWriter | None = None
        self._inode: int | None = None  # of the workspace's own database
        self.behind: set[int] = set()
        self.error: Exception | None = None
        self.failures = 0
        self.run_ids: dict[int, str] = {}

    def open(self) -> bool:
        """Connect, and make experiment and run of the study if they are absent."""
        return self._try(self._opened)

    def copy(self, number: int) -> bool:
        """Bring the run of a trial, or of the STUDY, up to its folder; whether that worked."""
        done = self._try(lambda: self._copy(number))
        (self.behind.discard if done else self.behind.add)(number)
        if done and not self.behind:
            self.error = None
        return done

    def way_out(self) -> str:
        """What is behind and how to bring it up, in one line; empty if nothing is."""
        if not self.behind and self.error is None:
            return ""
        command = self._tracker.sync_command(self._paths)
        return f"MLflow is behind ({self.error}); {command} brings it up"

    def _copy(self, number: int) -> None:
        writer = self._opened()
        if number == STUDY:
            writer.copy_study()
        else:
            writer.copy_trial(number)
            if number in writer.run_ids:
                self.run_ids[number] = writer.run_ids[number]

    def _opened(self) -> StudyWriter:
        database = self._tracker.database
        if self._writer is not None and database is not None and self._inode != _inode(database):
            self._writer = None  # the file was deleted or replaced
        if self._writer is None:
            client = open_client(self._tracker, self._tell)
            self._inode = None if database is None else _inode(database)
            self._writer = StudyWriter(client, self._tracker, self._paths, self._config)
        return self._writer

    def _try(self, work: Callable[[], object]) -> bool:
        """Training goes on whatever happens here; the next copy catches up."""
        try:
            work()
        except Exception as error:
            self.error = _plain(explained(error, self._tracker))
            self.failures += 1
            return False
        self.failures = 0
        return True


def sync(
    tracker: Tracker,
    paths: StudyPaths,
    config: StudyConfig,
    tell: Callable[[str], None] = lambda _: None,
) -> int:
    """Bring MLflow up to the study's folder.

    Returns:
        How many trials the folder holds, confirming ones among them.

    Raises:
        UserError: another process leads the study, or the user must mend something in MLflow.
        TrackingError: MLflow cannot be reached, or did not take everything.
    """
    with leading(paths):
        n_trials = _send_all(Shipper(tracker, paths, config, tell), paths)
        if paths.confirm.confirm_yaml.exists():
            confirming = Shipper(tracker, paths.confirm, read_config(paths.confirm), tell)
            n_trials += _send_all(confirming, paths.confirm)
    return n_trials


def log_champion(
    tracker: Tracker, paths: StudyPaths, config: StudyConfig, champion: Champion
) -> None:
    """Register the winner of a confirmation, and put its tables into MLflow.

    Args:
        paths: of the confirmation.
        config: its definition.

    Raises:
        UserError, TrackingError: as `sync`.
    """
    try:
        client = open_client(tracker, lambda _: None)
        writer = StudyWriter(client, tracker, paths, config)
        writer.log_champion(champion)
        writer.copy_study()
    except Exception as error:
        raise _plain(explained(error, tracker)) from error


def _send_all(shipper: Shipper, paths: StudyPaths) -> int:
    numbers = [trial.number for trial in paths.all_trials()]
    for number in (*numbers, STUDY):
        shipper.copy(number)
        if shipper.failures >= FAILURES_IN_A_ROW:
            break
    record_runs(paths, shipper.run_ids)
    if isinstance(shipper.error, StoreFileError):
        raise UserError(str(shipper.error))
    if shipper.error is not None:
        raise shipper.error
    return len(numbers)


def log_report(
    tracker: Tracker,
    paths: StudyPaths,
    config: StudyConfig,
    numbers: Mapping[int, Mapping[str, float]] = MappingProxyType({}),
) -> None:
    """Put the study's report and tables into MLflow, where the study is there at all.

    Args:
        numbers: further metrics of trials, by number.

    Raises:
        UserError, TrackingError: as `sync`.
    """
    try:
        client = open_client(tracker, lambda _: None)
        if find_experiment(client, tracker, str(config.id)) is not None:
            writer = StudyWriter(client, tracker, paths, config)
            writer.log_numbers(numbers)
            writer.copy_study()
    except Exception as error:
        raise _plain(explained(error, tracker)) from error


def log_numbers(
    tracker: Tracker, paths: StudyPaths, config: StudyConfig, numbers: Sequence[Number]
) -> None:
    """Put numbers onto the study's own run, and its files beside, where it is there at all.

    Raises:
        UserError, TrackingError: as `sync`.
    """
    try:
        client = open_client(tracker, lambda _: None)
        if find_experiment(client, tracker, str(config.id)) is not None:
            writer = StudyWriter(client, tracker, paths, config)
            writer.copy_numbers(numbers)
            writer.copy_study()
    except Exception as error:
        raise _plain(explained(error, tracker)) from error


def _plain(error: Exception) -> HarnessError:
    """An error without the frames that hold what was sent, and without secrets."""
    if isinstance(error, HarnessError):
        return error.with_traceback(None)
    return TrackingError(f"{type(error).__name__}: {redacted(str(error))}")


def _inode(database: Path) -> int | None:
    try:
        return database.stat().st_ino
    except FileNotFoundError:
        return None
