"""A study's place in Optuna: open or create it, find it again by its id, hold it alone."""

import fcntl
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from harness.config import StudyConfig
from harness.errors import UserError
from harness.paths import StudyPaths

STUDY_ID = "harness.study_id"
IMPORTED = "harness.imported"  # of a trial: "<study>/<number>" that it was taken from
BUSY_TIMEOUT_S = 60


def open_storage(database: Path) -> RDBStorage:
    """The workspace's Optuna database, created if absent, in write-ahead mode."""
    database.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(database, timeout=BUSY_TIMEOUT_S)
    try:
        connection.execute("PRAGMA journal_mode=WAL")  # kept in the file from now on
    finally:
        connection.close()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return RDBStorage(
        f"sqlite:///{database}",
        engine_kwargs={"connect_args": {"timeout": BUSY_TIMEOUT_S}},
    )


def open_study(storage: RDBStorage, name: str, config: StudyConfig) -> optuna.Study:
    """The Optuna study with this study's id, created if there is none.

    Raises:
        UserError: when another study of that name is in the database.
    """
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        if summary.user_attrs.get(STUDY_ID) == config.id:
            return optuna.load_study(study_name=summary.study_name, storage=storage)
        if summary.study_name == name:
            raise UserError(
                f"optuna.db holds another study named {name}, whose folder is gone or replaced; "
                f"choose another --study, or remove it with: optuna delete-study "
                f"--study-name {name} --storage sqlite:///optuna.db"
            )
    study = optuna.create_study(
        study_name=name, storage=storage, direction=config.objective.direction
    )
    study.set_user_attr(STUDY_ID, config.id)
    return study


def own_trials(
    study: optuna.Study, states: tuple[TrialState, ...] | None = None
) -> list[FrozenTrial]:
    """The trials of a study that were not imported, in order of number.

    Imported trials come first, so the k-th of these has the number k + how many were imported.
    """
    trials = study.get_trials(deepcopy=False, states=states)
    return [trial for trial in trials if IMPORTED not in trial.user_attrs]


@contextmanager
def leading(paths: StudyPaths) -> Iterator[None]:
    """Lead a study alone, for as long as the context lasts.

    Raises:
        UserError: when another process leads it; the message says which.
    """
    paths.root.mkdir(parents=True, exist_ok=True)
    with paths.lock.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UserError(
                f"study {paths.name} is already running ({lock.read().strip() or 'elsewhere'}); "
                "wait for it, or stop it first"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def is_led(paths: StudyPaths) -> bool:
    """Whether some process leads the study now."""
    if not paths.lock.exists():
        return False
    with paths.lock.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
