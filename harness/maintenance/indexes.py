"""Both indexes of a study, Optuna's database and MLflow, as an operation on the study sees them.

The trial folders are the truth, so whatever an index lacks can be entered again.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.config.study_files import read_study_config
from harness.core import strict_yaml
from harness.core.errors import ConfigError, UserError
from harness.core.paths import CONFIRM_SUFFIX, StudyPaths, Workspace
from harness.search.storage.location import StorageLocation, resolve_storage
from harness.search.storage.sqlite_lookup import find_experiment_id, has_optuna_study
from harness.tracking.uri import TrackingStore, resolve_tracking_store

Log = Callable[[str], None]


@dataclass(frozen=True)
class IndexOptions:
    """Options `--storage` and `--tracking-uri` of a command; None: the workspace's own."""

    storage: str | None = None
    tracking_uri: str | None = None


class StudyIndexes:
    """Entries of one study and its confirmation in Optuna's database and in MLflow.

    Args:
        workspace: the workspace.
        paths: folder of the study.
        options: where the indexes are.

    Attributes:
        ids: id of the study, then that of its confirmation; empty if it has never run.

    Raises:
        ConfigError: study.yaml cannot be read, or an option is wrong.
    """

    def __init__(self, workspace: Workspace, paths: StudyPaths, options: IndexOptions) -> None:
        self._workspace, self._paths = workspace, paths
        self._location: StorageLocation = resolve_storage(workspace, options.storage)
        folders = [paths, *([paths.confirm] if paths.confirm.study_yaml.is_file() else [])]
        self.ids = [
            study_id for folder in folders if (study_id := read_study_id(folder)) is not None
        ]
        self._store = self._find_store(options) if self.ids else None

    def check_names_free(self, name: str) -> None:
        """Refuse a new name of the study that is taken in an index; connects to both.

        Raises:
            UserError: the name is taken, or an index cannot be opened.
            HarnessError: an index does not answer.
        """
        if not self.ids:
            return
        from harness.search.storage.study_entries import check_names_free  # noqa: PLC0415  # optuna

        check_names_free(self._location, self._names(name))
        if self._store is not None:
            from harness.tracking.study_entries import check_name_is_free  # noqa: PLC0415  # mlflow

            check_name_is_free(self._store, name, self.ids[0])

    def rename(self, name: str) -> None:
        """Give all entries the name of the study's folder. Raises as `check_names_free`."""
        if not self.ids:
            return
        from harness.search.storage.study_entries import rename_entries  # noqa: PLC0415  # optuna

        rename_entries(self._location, self._names(name))
        if self._store is not None:
            from harness.tracking.sync import log_study_metrics  # noqa: PLC0415  # imports mlflow

            # Every writer of a study renames its entries first, and this one adds no number.
            log_study_metrics(self._store, self._paths, read_study_config(self._paths), ())

    def delete(self, log: Log) -> None:
        """Remove all entries. Raises as `check_names_free`."""
        if not self.ids:
            return
        from harness.search.storage.study_entries import delete_entries  # noqa: PLC0415  # optuna

        delete_entries(self._location, self._names(""))
        if self._store is not None:
            from harness.tracking import study_entries  # noqa: PLC0415  # imports mlflow

            study_entries.delete_entries(self._store, self.ids[0], log)

    def _names(self, name: str) -> dict[str, str]:
        return dict(zip(self.ids, (name, f"{name}{CONFIRM_SUFFIX}"), strict=False))

    def _find_store(self, options: IndexOptions) -> TrackingStore | None:
        """MLflow's store; None if it is a file that does not exist, which would be created."""
        store = resolve_tracking_store(
            self._workspace, self._paths, self.ids[0], uri=options.tracking_uri
        )
        return None if store.file is not None and not store.file.exists() else store


def describe_missing_entries(
    workspace: Workspace, paths: StudyPaths, options: IndexOptions
) -> list[str]:
    """A line for each SQLite file without entries of a study; servers are not asked.

    Addresses of databases are not recorded, so the user may have forgotten an option.
    """
    if (study_id := read_study_id(paths)) is None:
        return []
    location = resolve_storage(workspace, options.storage)
    store = resolve_tracking_store(workspace, paths, study_id, uri=options.tracking_uri)
    missing = []
    if isinstance(location, Path) and not has_optuna_study(location, study_id):
        missing.append((location.name, "--storage"))
    if store.file is not None and find_experiment_id(store.file, study_id) is None:
        missing.append((store.file.name, "--tracking-uri"))
    return [
        f"{name} has no entries of it; if it was run with {option}, add that, or they stay there"
        for name, option in missing
    ]


def find_study_of_id(folders: Iterable[StudyPaths], study_id: str | None) -> StudyPaths | None:
    """First of the folders whose study has this id: the study itself, or a copy of its folder.

    A damaged study has no id. None if the id is None.
    """
    for paths in folders:
        with suppress(UserError, OSError, UnicodeDecodeError):
            if study_id is not None and read_study_id(paths) == study_id:
                return paths
    return None


def find_copy(workspace: Workspace, paths: StudyPaths) -> StudyPaths | None:
    """Another study of the workspace with the same id: one folder is a copy of the other."""
    others = (StudyPaths(path.parent) for path in sorted(workspace.studies.glob("*/study.yaml")))
    return find_study_of_id(
        (other for other in others if other.root != paths.root), read_study_id(paths)
    )


def read_study_id(paths: StudyPaths) -> str | None:
    """Id of a study; None if it has never run. The other settings are not checked.

    Raises:
        ConfigError: study.yaml is not YAML, or not a mapping.
    """
    location = str(paths.study_yaml)
    value = strict_yaml.load_yaml(paths.study_yaml.read_text(encoding="utf-8"), source=location)
    if not isinstance(value.value, dict):
        raise ConfigError(f"{location}: must be a mapping")
    study_id = value.value.get("id")
    return study_id if isinstance(study_id, str) else None
