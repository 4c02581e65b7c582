"""Functions for many studies: list, rename, archive, restore, delete, clean, compare.

Each first completes an operation on the same names that was killed.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.progress import LineProgress
from harness.config.study_files import require_study_yaml
from harness.core.errors import UserError
from harness.core.paths import StudyPaths, Workspace, expand_user_path
from harness.maintenance.archive import ARCHIVE_SUFFIX, archive_study
from harness.maintenance.clean import Removal, plan_removals, remove
from harness.maintenance.complete import complete_operations
from harness.maintenance.delete import delete_study
from harness.maintenance.disk_use import DiskUse, describe_study, measure_disk_use
from harness.maintenance.indexes import IndexOptions
from harness.maintenance.listing import StudySummary, list_studies
from harness.maintenance.operations import PendingOperation, deleted_folders
from harness.maintenance.rename import rename_study
from harness.tracking.uri import URI_VARIABLE

if TYPE_CHECKING:
    from harness.report.analysis.study_comparison import StudyComparison


def studies(*, workspace: str | Path = ".") -> list[StudySummary]:
    """All studies of a workspace, the last changed one first. Reads records, not databases.

    Example:
        for study in harness.studies():
            print(study.name, study.state, study.best)
    """
    return list_studies(Workspace.at(workspace))


def rename(
    old: str,
    new: str,
    *,
    storage: str | None = None,
    tracking_uri: str | None = None,
    workspace: str | Path = ".",
) -> StudyPaths:
    """Rename a study: its folder, Optuna's studies, and everything that MLflow holds.

    A call that was killed is completed by the same call, or by any other use of the study.

    Args:
        old, new: present and next name.
        storage, tracking_uri: as in `run_study`, if the study was run with them.

    Returns:
        The folder under its new name.

    Raises:
        UserError: the study runs, or the name is taken; nothing has changed.
        HarnessError: an index failed; the same call completes the rename.

    Example:
        harness.rename("encoders", "encoders-256px")
    """
    workspace_paths, log = Workspace.at(workspace), LineProgress().stage
    completed = _complete(workspace_paths, (new, old), log)
    if any((op.action, op.study, op.target) == ("rename", old, new) for op in completed):
        return workspace_paths.study(new)
    return rename_study(workspace_paths, old, new, _options(storage, tracking_uri))


def archive(
    study: str,
    file: str | Path | None = None,
    *,
    weights: bool = True,
    workspace: str | Path = ".",
) -> Path:
    """Write a study into one file, with a hash of each of its files.

    Args:
        study: name of the study.
        file: the archive; None: `<study>.harness.tar` in the current folder.
        weights: include models and checkpoints.

    Returns:
        Path of the archive.

    Raises:
        UserError: the study runs or does not exist, or the archive exists.

    Example:
        harness.archive("encoders", "encoders.harness.tar", weights=False)
    """
    workspace_paths = Workspace.at(workspace)
    _complete(workspace_paths, (study,), LineProgress().stage)
    target = Path(f"{study}{ARCHIVE_SUFFIX}") if file is None else expand_user_path(file)
    archive_study(workspace_paths.study(study), target, weights=weights)
    return target


def restore(
    file: str | Path,
    *,
    name: str | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
    workspace: str | Path = ".",
) -> StudyPaths:
    """Unpack the archive of a study, check every hash, and enter it in Optuna and MLflow.

    Args:
        file: what `archive` has written. It may come from a stranger: no code in it is executed.
        name: another name for the study; None: the one in the archive.
        storage, tracking_uri: as in `run_study`.

    Returns:
        The folder of the study.

    Raises:
        UserError: the archive is damaged or hostile, or the name or the study exists already;
            nothing was restored.

    Example:
        harness.restore("encoders.harness.tar", name="encoders-old")
    """
    workspace_paths, log = Workspace.at(workspace), LineProgress().stage
    path = expand_user_path(file)
    if not path.is_file():
        fault = "not a file" if path.exists() else "no such file"
        raise UserError(f"{path}: {fault}; name an archive that harness archive has written")
    from harness.maintenance.restore import restore_again, restore_study  # noqa: PLC0415  # SciPy

    restored = restore_again(workspace_paths, path, name, log)
    if restored is not None:
        return restored
    options = _options(storage, tracking_uri)
    return restore_study(workspace_paths, path, name, options, log)


def delete(
    study: str,
    *,
    storage: str | None = None,
    tracking_uri: str | None = None,
    workspace: str | Path = ".",
) -> None:
    """Delete a study without asking: its folder, Optuna's studies, and what MLflow holds.

    A call that was killed is completed by the same call, or by any other use of the name.

    Args:
        study: name of the study.
        storage, tracking_uri: as in `run_study`, if the study was run with them.

    Raises:
        UserError: the study runs or does not exist; nothing has changed.
        HarnessError: an index failed; the same call completes the deletion.

    Example:
        harness.delete("first-try")
    """
    workspace_paths, log = Workspace.at(workspace), LineProgress().stage
    completed = _complete(workspace_paths, (study,), log)
    is_gone = not workspace_paths.study(study).root.exists()
    if is_gone and any(operation.action == "delete" for operation in completed):
        return
    delete_study(workspace_paths, study, _options(storage, tracking_uri), log)


def compare(
    *studies: str, page: str | Path | None = None, workspace: str | Path = "."
) -> "StudyComparison":
    """Compare studies: results, definitions, and their leading trials on the images that both have.

    Args:
        studies: at least two names; the first one is the reference.
        page: HTML file with the tables and the learning curves; None: it is not written.

    Raises:
        UserError: unknown or too few studies.

    Example:
        print(harness.compare("encoders", "encoders2").paired[0])
    """
    workspace_paths = Workspace.at(workspace)
    _complete(workspace_paths, studies, LineProgress().stage)
    for name in studies:
        require_study_yaml(workspace_paths.study(name))
    from harness.report.analysis.study_comparison import compare_studies  # noqa: PLC0415  # pandas
    from harness.report.tables.study_tables import load_study_tables  # noqa: PLC0415  # as above

    tables = [load_study_tables(workspace_paths.study(name)) for name in studies]
    comparison = compare_studies(tables)
    if page is not None:
        from harness.report.comparison.page import write_comparison  # noqa: PLC0415  # plotly

        write_comparison(comparison, tables, expand_user_path(page))
    return comparison


def describe_deletion(
    study: str,
    *,
    storage: str | None = None,
    tracking_uri: str | None = None,
    workspace: str | Path = ".",
) -> list[str]:
    """Lines about all that `delete` would remove; [] if it only completes a killed call.

    Args:
        study, storage, tracking_uri: as in `delete`.

    Raises:
        UserError: the study does not exist.
    """
    workspace_paths = Workspace.at(workspace)
    paths = workspace_paths.study(study)
    if not paths.root.exists() and deleted_folders(workspace_paths, study):
        return []
    require_study_yaml(paths)
    return describe_study(workspace_paths, paths, _options(storage, tracking_uri))


def disk_use(*, workspace: str | Path = ".") -> DiskUse:
    """Disk use of a workspace by study and kind of file."""
    return measure_disk_use(Workspace.at(workspace))


def removable(
    *, kinds: Sequence[str] = (), study: str | None = None, workspace: str | Path = "."
) -> list[Removal]:
    """Files that `clean` would remove; those of running studies are left out.

    Args:
        kinds: leftovers, cache, checkpoints, overlays, predictions or weights; (): the first three.
        study: name of a study; None: all of them, and the workspace itself.

    Raises:
        UserError: unknown kind or study.
    """
    return plan_removals(Workspace.at(workspace), kinds, study)


def clean(
    *, kinds: Sequence[str] = (), study: str | None = None, workspace: str | Path = "."
) -> int:
    """Remove files that can be spared, without asking. Arguments and errors: as `removable`.

    Returns:
        The bytes that became free.

    Example:
        harness.clean(kinds=["overlays"], study="encoders")
    """
    removals = removable(kinds=kinds, study=study, workspace=workspace)
    return remove(Workspace.at(workspace), removals, LineProgress().stage)


def _complete(
    workspace: Workspace, names: tuple[str, ...], log: Callable[[str], None]
) -> list[PendingOperation]:
    """Complete killed operations on these names. Raises ConfigError for an unsafe name."""
    return [
        operation
        for name in names
        for operation in complete_operations(workspace, workspace.study(name).name, log)
    ]


def _options(storage: str | None, tracking_uri: str | None) -> IndexOptions:
    # Recorded with the operation: whoever completes it may have another environment.
    uri = tracking_uri or os.environ.get(URI_VARIABLE, "").strip() or None
    return IndexOptions(storage, uri)
