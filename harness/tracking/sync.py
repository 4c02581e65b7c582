"""Sends what MLflow lacks, trial by trial; what fails is remembered, and stops nothing else."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from harness.config.study import StudyConfig
from harness.config.study_files import read_study_config
from harness.core.errors import HarnessError, TrackingError, UserError
from harness.core.paths import StudyPaths
from harness.core.study_lock import hold_study_lock
from harness.tracking.client import StoreFileError, find_experiment, open_client, to_user_error
from harness.tracking.fields import (
    MAX_FAILURES_IN_A_ROW,
    STUDY_NUMBER,
    ConfirmedModel,
    StudyMetric,
    record_run_ids,
)
from harness.tracking.runs import StudyWriter
from harness.tracking.uri import TrackingStore, redact_secrets


class MlflowSync:
    """Copies one study. Not safe for threads: it belongs to the one that calls it.

    Args:
        store: the store.
        paths: the study's folder.
        config: its definition.
        log: takes one line about what was found and done.

    Attributes:
        pending: trials that failed to be copied.
        error: the last one; None: there is none, or all has arrived since.
        failures: in a row.
        run_ids: MLflow's ids of the runs that were copied or found, by number of their trials.
    """

    def __init__(
        self,
        store: TrackingStore,
        paths: StudyPaths,
        config: StudyConfig,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store, self._paths, self._config, self._log = store, paths, config, log
        self._writer: StudyWriter | None = None
        self._inode: int | None = None  # of the workspace's own database
        self.pending: set[int] = set()
        self.error: Exception | None = None
        self.failures = 0
        self.run_ids: dict[int, str] = {}

    def connect(self) -> bool:
        """Connect, and make experiment and run of the study if they are absent."""
        return self._attempt(self._get_writer)

    def copy(self, number: int) -> bool:
        """Bring the run of a trial, or of the STUDY, up to its folder; whether that worked."""
        succeeded = self._attempt(lambda: self._copy_number(number))
        (self.pending.discard if succeeded else self.pending.add)(number)
        if succeeded and not self.pending:
            self.error = None
        return succeeded

    def pending_message(self) -> str:
        """What is behind and how to bring it up, in one line; empty if nothing is."""
        if not self.pending and self.error is None:
            return ""
        command = self._store.sync_command(self._paths)
        return f"MLflow is behind ({self.error}); {command} brings it up"

    def _copy_number(self, number: int) -> None:
        writer = self._get_writer()
        if number == STUDY_NUMBER:
            writer.copy_study()
        else:
            writer.copy_trial(number)
            if number in writer.run_ids:
                self.run_ids[number] = writer.run_ids[number]

    def _get_writer(self) -> StudyWriter:
        database = self._store.database
        if self._writer is not None and database is not None and self._inode != _inode(database):
            self._writer = None  # the file was deleted or replaced
        if self._writer is None:
            client = open_client(self._store, self._log)
            self._inode = None if database is None else _inode(database)
            self._writer = StudyWriter(client, self._store, self._paths, self._config)
        return self._writer

    def _attempt(self, work: Callable[[], object]) -> bool:
        """Training goes on whatever happens here; the next copy catches up."""
        try:
            work()
        except Exception as error:
            self.error = _sanitised_error(to_user_error(error, self._store))
            self.failures += 1
            return False
        self.failures = 0
        return True


def sync_study(
    store: TrackingStore,
    paths: StudyPaths,
    config: StudyConfig,
    log: Callable[[str], None] = lambda _: None,
) -> int:
    """Bring MLflow up to the study's folder.

    Returns:
        How many trials the folder holds, confirming ones among them.

    Raises:
        UserError: another process leads the study, or the user must mend something in MLflow.
        TrackingError: MLflow cannot be reached, or did not take everything.
    """
    with hold_study_lock(paths):
        n_trials = _send_all(MlflowSync(store, paths, config, log), paths)
        if paths.confirm.confirm_yaml.exists():
            confirm_sync = MlflowSync(store, paths.confirm, read_study_config(paths.confirm), log)
            n_trials += _send_all(confirm_sync, paths.confirm)
    return n_trials


def log_champion(
    store: TrackingStore, paths: StudyPaths, config: StudyConfig, champion: ConfirmedModel
) -> None:
    """Register the winner of a confirmation, and put its tables into MLflow.

    Args:
        paths: of the confirmation.
        config: its definition.

    Raises:
        UserError, TrackingError: as `sync_study`.
    """
    try:
        client = open_client(store, lambda _: None)
        writer = StudyWriter(client, store, paths, config)
        writer.log_champion(champion)
        writer.copy_study()
    except Exception as error:
        raise _sanitised_error(to_user_error(error, store)) from error


def _send_all(mlflow_sync: MlflowSync, paths: StudyPaths) -> int:
    numbers = [trial.number for trial in paths.all_trials()]
    for number in (*numbers, STUDY_NUMBER):
        mlflow_sync.copy(number)
        if mlflow_sync.failures >= MAX_FAILURES_IN_A_ROW:
            break
    record_run_ids(paths, mlflow_sync.run_ids)
    if isinstance(mlflow_sync.error, StoreFileError):
        raise UserError(str(mlflow_sync.error))
    if mlflow_sync.error is not None:
        raise mlflow_sync.error
    return len(numbers)


def log_report(
    store: TrackingStore,
    paths: StudyPaths,
    config: StudyConfig,
    numbers: Mapping[int, Mapping[str, float]] = MappingProxyType({}),
) -> None:
    """Put the study's report and tables into MLflow, where the study is there at all.

    Args:
        numbers: further metrics of trials, by number.

    Raises:
        UserError, TrackingError: as `sync_study`.
    """
    try:
        client = open_client(store, lambda _: None)
        if find_experiment(client, store, str(config.id)) is not None:
            writer = StudyWriter(client, store, paths, config)
            writer.log_trial_metrics(numbers)
            writer.copy_study()
    except Exception as error:
        raise _sanitised_error(to_user_error(error, store)) from error


def log_study_metrics(
    store: TrackingStore, paths: StudyPaths, config: StudyConfig, metrics: Sequence[StudyMetric]
) -> None:
    """Put numbers onto the study's own run, and its files beside, where it is there at all.

    Raises:
        UserError, TrackingError: as `sync_study`.
    """
    try:
        client = open_client(store, lambda _: None)
        if find_experiment(client, store, str(config.id)) is not None:
            writer = StudyWriter(client, store, paths, config)
            writer.log_study_metrics(metrics)
            writer.copy_study()
    except Exception as error:
        raise _sanitised_error(to_user_error(error, store)) from error


def _sanitised_error(error: Exception) -> HarnessError:
    """An error without the frames that hold what was sent, and without secrets."""
    if isinstance(error, HarnessError):
        return error.with_traceback(None)
    return TrackingError(f"{type(error).__name__}: {redact_secrets(str(error))}")


def _inode(database: Path) -> int | None:
    try:
        return database.stat().st_ino
    except FileNotFoundError:
        return None
