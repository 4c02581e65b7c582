"""Synchronisation of a study with MLflow, trial by trial; failures are recorded for a retry."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from harness.config.study import StudyConfig
from harness.config.study_files import read_study_config
from harness.core.errors import HarnessError, TrackingError, UserError
from harness.core.paths import StudyPaths
from harness.core.study_lock import hold_study_lock
from harness.tracking.client import StoreFileError, find_experiment, open_client, to_user_error
from harness.tracking.confirmation import ConfirmationWriter
from harness.tracking.fields import (
    MAX_FAILURES_IN_A_ROW,
    STUDY_NUMBER,
    ConfirmedEntry,
    ConfirmedModel,
    StudyMetric,
    record_run_ids,
)
from harness.tracking.runs import StudyWriter
from harness.tracking.uri import TrackingStore, redact_secrets


class MlflowSync:
    """Copy of one study into MLflow. Not thread-safe: one thread only may use it.

    Args:
        store: the store.
        paths: folder of the study.
        config: definition of the study.
        log: takes one line about each repair of the store.

    Attributes:
        pending: numbers of the trials whose copy failed.
        error: last error; None if everything was copied since.
        failures: number of consecutive failures.
        run_ids: MLflow run ids by trial number, of copied and existing runs.
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
        self._inode: int | None = None  # inode of the workspace's own database
        self.pending: set[int] = set()
        self.error: Exception | None = None
        self.failures = 0
        self.run_ids: dict[int, str] = {}

    def connect(self) -> bool:
        """Connect, and create experiment and run of the study if they are absent."""
        return self._attempt(self._get_writer)

    def copy(self, number: int) -> bool:
        """Bring the run of a trial (or of the study, STUDY_NUMBER) up to date.

        Returns:
            True if the copy succeeded.
        """
        succeeded = self._attempt(lambda: self._copy_number(number))
        (self.pending.discard if succeeded else self.pending.add)(number)
        if succeeded and not self.pending:
            self.error = None
        return succeeded

    def pending_message(self) -> str:
        """One line about missing data and the command that completes it; empty if complete."""
        if not self.pending and self.error is None:
            return ""
        command = self._store.sync_command(self._paths)
        return f"MLflow is not up to date ({self.error}); complete it with: {command}"

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
        # A file that is deleted while open keeps accepting writes, which would be lost silently.
        if self._writer is not None and database is not None and self._inode != _inode(database):
            self._writer = None  # the file was deleted or replaced: open the new one
        if self._writer is None:
            client = open_client(self._store, self._log)
            self._inode = None if database is None else _inode(database)
            self._writer = StudyWriter(client, self._store, self._paths, self._config)
        return self._writer

    def _attempt(self, work: Callable[[], object]) -> bool:
        """Run a call to MLflow and record its error; True if it succeeded."""
        try:
            work()
        except Exception as error:  # of any class: MLflow must never stop the training
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
    """Bring MLflow up to date with the study's folder.

    Returns:
        Number of trials in the folder, including those of a confirmation.

    Raises:
        UserError: another process runs the study, or the user must change something in MLflow.
        TrackingError: MLflow cannot be reached, or a copy failed.
    """
    # The lock keeps a run from starting: its mirror would create the same runs simultaneously.
    with hold_study_lock(paths):
        n_trials = _send_all(MlflowSync(store, paths, config, log), paths)
        if paths.confirm.confirm_yaml.exists():
            confirm_sync = MlflowSync(store, paths.confirm, read_study_config(paths.confirm), log)
            n_trials += _send_all(confirm_sync, paths.confirm)
    return n_trials


def log_champion(
    store: TrackingStore,
    paths: StudyPaths,
    config: StudyConfig,
    champion: ConfirmedModel,
    entries: Sequence[ConfirmedEntry] = (),
) -> None:
    """Register the winner of a confirmation, and log its configurations and tables to MLflow.

    Args:
        store: the store.
        paths: folder of the confirmation.
        config: definition of the confirmation.
        champion: the winner.
        entries: the compared configurations; each becomes a LoggedModel.

    Raises:
        UserError, TrackingError: as `sync_study`.
    """
    try:
        client = open_client(store, lambda _: None)
        writer = ConfirmationWriter(client, store, paths, config)
        writer.log_champion(champion)
        writer.log_entries(entries)
        writer.copy_study()
    except Exception as error:
        raise _sanitised_error(to_user_error(error, store)) from error


def attach_bundle(
    store: TrackingStore,
    paths: StudyPaths,
    config: StudyConfig,
    champion: ConfirmedModel,
    entries: Sequence[ConfirmedEntry],
    bundle: Path,
) -> str | None:
    """Register a bundle as the champion's model version, if the study has an experiment there.

    Args:
        store: the store.
        paths: folder of the confirmation.
        config: definition of the confirmation.
        champion: the winner, whose weights the bundle contains.
        entries: the compared configurations.
        bundle: folder that `harness export` has written.

    Returns:
        `models:/<name>/<version>`; None if the study has no experiment in the store.

    Raises:
        UserError, TrackingError: as `sync_study`, or the bundle is damaged.
    """
    study_id = str(read_study_config(paths.study).id)
    try:
        client = open_client(store, lambda _: None)
        if find_experiment(client, store, study_id) is None:
            return None
        writer = ConfirmationWriter(client, store, paths, config)
        writer.log_champion(champion)
        version = writer.attach_bundle(champion, bundle)
        writer.log_entries(entries)
    except Exception as error:
        raise _sanitised_error(to_user_error(error, store)) from error
    return version


def _send_all(mlflow_sync: MlflowSync, paths: StudyPaths) -> int:
    numbers = [trial.number for trial in paths.all_trials()]
    # The study's own run comes last, because its best-value curve and tables follow from trials.
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
    """Log report and tables to MLflow, if the study has an experiment there.

    Args:
        store: the store.
        paths: folder of the study.
        config: definition of the study.
        numbers: additional metrics by trial number.

    Raises:
        UserError, TrackingError: as `sync_study`.
    """
    _update_study(store, paths, config, lambda writer: writer.log_trial_metrics(numbers))


def log_study_metrics(
    store: TrackingStore, paths: StudyPaths, config: StudyConfig, metrics: Sequence[StudyMetric]
) -> None:
    """Log metrics and files to the study's own run, if the study has an experiment there.

    Raises:
        UserError, TrackingError: as `sync_study`.
    """
    _update_study(store, paths, config, lambda writer: writer.log_study_metrics(metrics))


def _update_study(
    store: TrackingStore,
    paths: StudyPaths,
    config: StudyConfig,
    log: Callable[[StudyWriter], None],
) -> None:
    """Call `log` and copy the study's files, if the study has an experiment in the store."""
    try:
        client = open_client(store, lambda _: None)
        if find_experiment(client, store, str(config.id)) is not None:
            writer = StudyWriter(client, store, paths, config)
            log(writer)
            writer.copy_study()
    except Exception as error:
        raise _sanitised_error(to_user_error(error, store)) from error


def _sanitised_error(error: Exception) -> HarnessError:
    """Error without secrets and without a traceback, whose frames would keep the sent data."""
    if isinstance(error, HarnessError):
        return error.with_traceback(None)
    return TrackingError(f"{type(error).__name__}: {redact_secrets(str(error))}")


def _inode(database: Path) -> int | None:
    try:
        return database.stat().st_ino
    except FileNotFoundError:
        return None
