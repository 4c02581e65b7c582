"""Optuna study of a harness study: creation, lookup by id, own trials.

Used by storage, sampling and control alike, so it stands apart from the database in `storage`.
"""

import warnings
from collections.abc import Container
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from harness.config.study import StudyConfig
from harness.core.records import TrialRecord
from harness.search.storage.sqlite_lookup import STUDY_ID_ATTR, taken_name_error

IMPORTED_ATTR = "harness.imported"  # of a trial: its origin as "<study>/<number>"


class StudyStorage(_CachedStorage):
    """Cache of a database, as Optuna puts before each, that reads queued trials alone if asked.

    `Study.ask` looks for queued trials first. Optuna's cache then reads all trials that are
    running, with their parameters and epochs: 25 of 60 ms for a new trial while 64 run.
    """

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self._database = backend

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials of a study by their number, as the method of Optuna does."""
        if states == (TrialState.WAITING,):
            trials = self._database.get_all_trials(study_id, deepcopy, states)
            return sorted(trials, key=lambda trial: trial.number)
        return super().get_all_trials(study_id, deepcopy, states)


def open_optuna_study(storage: RDBStorage, name: str, config: StudyConfig) -> optuna.Study:
    """Open the Optuna study with this study's id under its present name, or create it.

    Optuna creates a study and sets its attributes in several steps. Until the id is one of them,
    the study has a name that contains it, so that the call after a kill continues here.

    Raises:
        UserError: the database contains another study of that name.
    """
    if (existing := find_optuna_study(storage, name, str(config.id))) is not None:
        return rename_optuna_study(storage, existing, name)
    study = optuna.create_study(
        study_name=unfinished_name(str(config.id)),
        storage=StudyStorage(storage),
        direction=config.objective.direction,
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([config.objective.metric])  # shown by optuna-dashboard
    study.set_user_attr(STUDY_ID_ATTR, config.id)
    return rename_optuna_study(storage, study, name)


def unfinished_name(study_id: str) -> str:
    """Name of a study in Optuna while it is created; the `@` is in no name of a study."""
    return f"new@{study_id}"


def trial_attributes(record: TrialRecord) -> dict[str, Any]:
    """User attributes of a finished trial, as columns of optuna-dashboard; nothing here reads them.

    Returns:
        folder within the study's folder, seed, and dice and iou of the best epoch if there is one.
    """
    scores = {name: record.best.get(f"best/{name}") for name in ("dice", "iou")}
    present = {name: score for name, score in scores.items() if score is not None}
    return {"folder": f"trials/{record.number:04d}", "seed": record.seed, **present}


def find_optuna_study(storage: RDBStorage, name: str, study_id: str) -> optuna.Study | None:
    """Find the Optuna study with this id, also under another name; None if it does not exist.

    The id decides and not the name: `load_if_exists=True` of Optuna would silently continue
    another study of the same name, even one with the opposite direction.

    Raises:
        UserError: the database contains another study of that name.
    """
    # The best trial of every study in a shared database would cost one more query each.
    summaries = optuna.get_all_study_summaries(storage, include_best_trial=False)
    for summary in summaries:
        if summary.user_attrs.get(STUDY_ID_ATTR) == study_id:
            return optuna.load_study(study_name=summary.study_name, storage=StudyStorage(storage))
    for summary in summaries:
        if summary.study_name == name:
            raise taken_name_error(storage.url, name)
    return None


def rename_optuna_study(storage: RDBStorage, study: optuna.Study, name: str) -> optuna.Study:
    """Give a study the name of its folder; nothing is written if it has that name already.

    Optuna has no call for it (5.0). One statement renames the study whole or not at all, and keeps
    what Optuna alone knows, such as the attributes of its samplers and pruners.

    Raises:
        UserError: the database contains another study of that name.
    """
    if study.study_name == name:
        return study
    statement = text("UPDATE studies SET study_name = :new WHERE study_name = :old")
    try:
        with storage.engine.begin() as connection:
            connection.execute(statement, {"new": name, "old": study.study_name})
    except IntegrityError:
        raise taken_name_error(storage.url, name) from None
    return optuna.load_study(study_name=name, storage=StudyStorage(storage))


def own_trials(
    study: optuna.Study, states: tuple[TrialState, ...] | None = None
) -> list[FrozenTrial]:
    """Trials of a study that were not imported, in order of number.

    Imported trials come first, so the k-th own trial has the number k + number of imported ones.
    """
    # Without copies, so callers must not change the trials.
    trials = study.get_trials(deepcopy=False, states=states)
    return [trial for trial in trials if IMPORTED_ATTR not in trial.user_attrs]


def count_finished_trials(study: optuna.Study) -> int:
    """Number of a study's own trials that are complete, pruned or failed."""
    return len(own_trials(study, (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)))
