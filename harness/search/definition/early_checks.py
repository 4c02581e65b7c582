"""Checks that need no network library, before these are imported and a worker is started.

Mistakes in a space file, missing data and a name that is in use are reported at once this way. The
complete checks follow in `search.run.launch` and `check_report`: a check here may leave something
to these, but must not refuse what they accept.
"""

from importlib.metadata import entry_points
from typing import Any

from harness.config.components import get_components
from harness.config.progress import ProgressReporter
from harness.config.user_code import ENTRY_POINT_GROUP
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_records
from harness.data.datasets.sources import locate_data
from harness.models.network_names import TIMM_PREFIX, NetworkNames, installed_names, unknown_encoder
from harness.search.definition.component_checks import check_losses
from harness.search.definition.definition import StudyDefinition
from harness.search.definition.network_library import LibraryNames
from harness.search.definition.options import RunOptions
from harness.search.definition.study_options import (
    locate_checked_study,
    locate_study,
    resolve_options,
)
from harness.search.definition.study_parts import read_parts_config
from harness.search.definition.trial_plan import plan_line, total_trials
from harness.search.storage.location import resolve_storage
from harness.search.storage.sqlite_lookup import are_up_to_date, refuse_taken_name
from harness.tracking.uri import resolve_tracking_store


def check_run_early(options: RunOptions, progress: ProgressReporter) -> StudyPaths | None:
    """Refuse a run whose files or options are wrong, and find out if it has nothing to do.

    Returns:
        Folder of the study if it has its trials and both databases hold them; otherwise None.

    Raises:
        UserError: something must be changed first.
    """
    paths = locate_study(options)
    definition = _resolve_without_libraries(options, paths)
    if definition is None:
        return None
    if not definition.is_started:
        refuse_orphan_trials(paths)
    stores, study_id = options.stores, str(definition.config.id)
    store = resolve_tracking_store(
        stores.workspace,
        paths,
        study_id,
        uri=stores.tracking_uri,
        experiment=stores.experiment,
    )
    storage = resolve_storage(stores.workspace, stores.storage)
    check_losses(definition)
    locate_data(definition.config.data.root, stores.workspace)
    if not definition.is_started:
        refuse_taken_name(storage, store, paths.name, study_id)
        return None
    trials, records = total_trials(options, definition), read_records(paths)
    n_finished = sum(record.imported is None for record in records)
    is_finished = (
        n_finished >= min(trials, len(definition.space.rows) or trials)
        and not any(_is_unfinished(paths, record) for record in records)
        and trials == definition.config.budget.trials  # otherwise study.yaml has to change
        and not (options.search.import_from or options.search.prior or options.search.question)
        and paths.trials_csv.is_file()
        and are_up_to_date(storage, store, paths.name, study_id, records)
    )
    if not is_finished:
        return None
    progress.stage(plan_line(n_finished, trials, definition.space))
    return paths


def _is_unfinished(paths: StudyPaths, record: TrialRecord) -> bool:
    """True for a running trial, and for a stopped one that may have a second chance."""
    is_stopped = record.state == "pruned" and paths.trial(record.number).checkpoint.exists()
    return record.state == "running" or is_stopped


def check_study_early(options: RunOptions, progress: ProgressReporter) -> None:
    """Refuse a check whose files cannot be read; name missing data before the networks are built.

    Raises:
        ConfigError: the space or the settings cannot be read.
    """
    _, paths = locate_checked_study(options)
    definition = _resolve_without_libraries(options, paths)
    if definition is None or (options.search.data is None and not paths.study_yaml.exists()):
        return
    try:
        locate_data(definition.config.data.root, options.stores.workspace)
    except UserError as error:  # a problem of the report that follows
        progress.stage(f"error: {error}")


def refuse_orphan_trials(paths: StudyPaths) -> None:
    """Refuse a folder of trials without a definition: the new study would count them as its own."""
    if any(paths.all_trials()):
        raise UserError(
            f"{paths.root} holds trials, but no study.yaml with an id and space.yaml: put these "
            "back, or move the folder away, or choose another --study"
        )


def _resolve_without_libraries(options: RunOptions, paths: StudyPaths) -> StudyDefinition | None:
    """Definition of the study; None if it needs user-defined components or unlisted names.

    Raises:
        ConfigError: every mistake.
    """
    names = installed_names()
    if names is None or options.search.parts is not None or entry_points(group=ENTRY_POINT_GROUP):
        return None
    if read_parts_config(paths) is not None:
        return None
    # Networks may also be registered by the code that calls `run_study`.
    if any(name not in names.options for name in get_components("network")):
        return None
    checks = _ListedNames(names)
    try:
        return resolve_options(options, paths, None, checks)
    except ConfigError:
        if checks.is_incomplete:  # the libraries may find more mistakes for the same message
            return None
        raise


class _ListedNames:
    """Checks of names by their list; a `NetworkNameChecks`.

    Attributes:
        is_incomplete: True once a value was accepted that only the libraries can check.
    """

    def __init__(self, names: NetworkNames) -> None:
        self._names = names
        self.is_incomplete = False

    def names(self) -> LibraryNames:
        options, inactive_keys = self._names.options, self._names.inactive_keys
        return LibraryNames(list(options), options, inactive_keys)

    def encoder_problem(self, name: Any) -> str | None:
        encoders, models = self._names.encoders, self._names.timm_models
        if name in encoders or name in {TIMM_PREFIX + model for model in models}:
            return None
        if isinstance(name, str) and "." not in name:
            return unknown_encoder(name, encoders, models)
        self.is_incomplete = True  # a tag of weights
        return None

    def option_problem(self, name: str, value: Any) -> str | None:  # protocol
        self.is_incomplete = True
        return None
