"""Enter a study whose trials are in its folder in Optuna's database."""

from dataclasses import replace

from harness.config.study_files import read_study_config
from harness.core.paths import StudyPaths, Workspace
from harness.core.records import read_records
from harness.evaluation.confirm.plan import confirmation_space, read_confirmation_plan
from harness.maintenance.indexes import IndexOptions, Log
from harness.search.definition.definition import StudyDefinition
from harness.search.storage.location import resolve_storage
from harness.search.storage.rebuild import load_or_rebuild_study
from harness.search.storage.storage import open_storage, stop_on_database_error
from harness.space.reading.load_space import read_space
from harness.space.space import AllowedValues


def enter_study(workspace: Workspace, paths: StudyPaths, options: IndexOptions, log: Log) -> None:
    """Enter search and confirmation, as `harness run` and `harness confirm` would; trains nothing.

    Raises:
        UserError: the space is of another version, or the database cannot be opened.
        StudyStoppedError: the database failed.
    """
    location = resolve_storage(workspace, options.storage)
    # Names were checked when the study started: without torch they are not checked again.
    space = read_space(paths.space_yaml, legal=AllowedValues())
    definition = StudyDefinition(read_study_config(paths), space, is_started=True)
    storage = open_storage(location, log)
    with stop_on_database_error(location):
        load_or_rebuild_study(storage, paths, definition, lambda line: None)
        plan = read_confirmation_plan(paths)
        if plan is not None:
            records = {record.number: record for record in read_records(paths)}
            rows = confirmation_space(plan, definition, records)
            config = read_study_config(paths.confirm)
            confirming = replace(definition, config=config, recorded_space=rows)
            load_or_rebuild_study(storage, paths.confirm, confirming, lambda line: None)
