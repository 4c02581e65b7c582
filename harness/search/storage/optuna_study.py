"""A study's place in Optuna: open or create it, find it again by its id."""

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from harness.config.study import StudyConfig
from harness.core.errors import UserError

STUDY_ID_ATTR = "harness.study_id"
IMPORTED_ATTR = "harness.imported"  # of a trial: "<study>/<number>" that it was taken from


def open_optuna_study(storage: RDBStorage, name: str, config: StudyConfig) -> optuna.Study:
    """The Optuna study with this study's id, created if there is none.

    Raises:
        UserError: when another study of that name is in the database.
    """
    if (existing := find_optuna_study(storage, name, str(config.id))) is not None:
        return existing
    study = optuna.create_study(
        study_name=name, storage=storage, direction=config.objective.direction
    )
    study.set_user_attr(STUDY_ID_ATTR, config.id)
    return study


def find_optuna_study(storage: RDBStorage, name: str, study_id: str) -> optuna.Study | None:
    """The Optuna study with this id, whatever it is called; None: there is none.

    Raises:
        UserError: when another study of that name is in the database.
    """
    summaries = optuna.get_all_study_summaries(storage, include_best_trial=False)
    for summary in summaries:
        if summary.user_attrs.get(STUDY_ID_ATTR) == study_id:
            return optuna.load_study(study_name=summary.study_name, storage=storage)
    for summary in summaries:
        if summary.study_name == name:
            raise UserError(
                f"{storage.url} holds another study named {name}, whose folder is gone, replaced "
                f"or elsewhere; choose another --study, or remove it with: optuna delete-study "
                f"--study-name {name} --storage {storage.url}"
            )
    return None


def own_trials(
    study: optuna.Study, states: tuple[TrialState, ...] | None = None
) -> list[FrozenTrial]:
    """The trials of a study that were not imported, in order of number.

    Imported trials come first, so the k-th of these has the number k + how many were imported.
    """
    trials = study.get_trials(deepcopy=False, states=states)
    return [trial for trial in trials if IMPORTED_ATTR not in trial.user_attrs]


def count_finished_trials(study: optuna.Study) -> int:
    """How many of a study's own trials are complete, pruned or failed."""
    return len(own_trials(study, (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)))
