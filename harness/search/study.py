"""A study's place in Optuna: open or create it, find it again by its id."""

from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from harness.config import StudyConfig
from harness.errors import UserError
from harness.search.database import (
    BUSY_TIMEOUT_S,
    is_damaged,
    move_aside,
    opening,
    write_ahead,
)
from harness.search.mounts import refuse_remote

STUDY_ID = "harness.study_id"
IMPORTED = "harness.imported"  # of a trial: "<study>/<number>" that it was taken from


def open_storage(database: Path, say: Callable[[str], None] = lambda _: None) -> RDBStorage:
    """The workspace's Optuna database, created if absent, in write-ahead mode.

    A damaged one is moved aside, which is said; the studies in it are rebuilt from their folders
    when they are run again.

    Raises:
        UserError: it would lie on a network or FUSE file system.
    """
    refuse_remote(database)
    with opening(database):
        if is_damaged(database):
            aside = move_aside(database)
            say(
                f"{database} was damaged: moved to {aside.name}, and rebuilt from the trial folders"
            )
        write_ahead(database)
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


def forget_study(database: Path, name: str) -> bool:
    """Remove the Optuna study of that name, whose folder is gone; whether there was one."""
    if not database.exists():
        return False
    storage = open_storage(database)
    if name not in optuna.get_all_study_names(storage):
        return False
    optuna.delete_study(study_name=name, storage=storage)
    return True


def own_trials(
    study: optuna.Study, states: tuple[TrialState, ...] | None = None
) -> list[FrozenTrial]:
    """The trials of a study that were not imported, in order of number.

    Imported trials come first, so the k-th of these has the number k + how many were imported.
    """
    trials = study.get_trials(deepcopy=False, states=states)
    return [trial for trial in trials if IMPORTED not in trial.user_attrs]
