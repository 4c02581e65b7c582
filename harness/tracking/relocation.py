"""Correction of the absolute artifact paths in MLflow's tables after a workspace was moved.

MLflow has no call that changes the artifact location of an experiment or a run, and it converts a
path relative to the database to an absolute one when it stores it (mlflow 3.17). Therefore the
tables are edited directly.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from harness.core.sqlite_file import BUSY_TIMEOUT_S
from harness.tracking.tags import STUDY_TAG

_LOCATION_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_MLRUNS = "mlruns"


def relocate_artifacts(database: Path, mlruns: Path, study_id: str | None = None) -> str:
    """Replace outdated artifact folders in the tables of a SQLite file.

    Files are neither moved nor removed.

    Args:
        database: MLflow's database, with its tables.
        mlruns: current folder of the artifacts, `<workspace>/mlruns`; those of a study are in its
            subfolder named by the study's id.
        study_id: study whose paths are corrected. None: the database is the workspace's own, and
            every path below its old mlruns/ is corrected, including user-defined experiments.

    Returns:
        One line about the correction; empty if nothing changed.
    """
    # The second context is a transaction: either all tables are corrected or none.
    with closing(sqlite3.connect(database, timeout=BUSY_TIMEOUT_S)) as connection, connection:
        moves = dict(_folder_moves(connection, mlruns, study_id))
        if study_id is None:
            moves |= _default_experiment_move(connection, mlruns)
        n_changed = (
            sum(_update_locations(connection, *column, moves) for column in _LOCATION_COLUMNS)
            if moves
            else 0
        )
    old_folders = [old for old in moves if old.name != "0"]
    if not n_changed or not old_folders:
        return ""
    return (
        f"{database}: the workspace was moved or copied; artifact folder {old_folders[0]} "
        f"corrected to {moves[old_folders[0]]}"
    )


def local_path(location: str | None) -> Path | None:
    """Path of a `file:` URI or of a plain absolute path; None for any other location."""
    if location is None or not location.startswith(("file:", "/")):
        return None
    return Path(unquote(urlsplit(location).path) if location.startswith("file:") else location)


def _folder_moves(
    connection: sqlite3.Connection, mlruns: Path, only_study: str | None
) -> Iterator[tuple[Path, Path]]:
    """Pairs of old and new folder, for mlruns/ or for a single study."""
    studies = connection.execute(
        "SELECT artifact_location, value FROM experiments JOIN experiment_tags"
        " ON experiments.experiment_id = experiment_tags.experiment_id WHERE key = ?",
        (STUDY_TAG,),
    )
    for location, study_id in studies.fetchall():
        folder = local_path(location)
        if folder is None or folder.name != study_id or folder.parent.name != _MLRUNS:
            continue  # location chosen by the user
        if folder.parent == mlruns:
            continue
        if only_study is None:
            yield folder.parent, mlruns
        elif study_id == only_study:
            yield folder, mlruns / study_id


def _default_experiment_move(connection: sqlite3.Connection, mlruns: Path) -> dict[Path, Path]:
    """Old and new folder of experiment 0, if it has no runs.

    MLflow locates it in the working directory of the process that created the tables.
    """
    row = connection.execute(
        "SELECT artifact_location FROM experiments WHERE experiment_id = 0"
        " AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.experiment_id = 0)"
    ).fetchone()
    folder = None if row is None else local_path(row[0])
    if folder is None or folder == mlruns / "0" or folder.parts[-2:] != (_MLRUNS, "0"):
        return {}
    return {folder: mlruns / "0"}


def _update_locations(
    connection: sqlite3.Connection, table: str, column: str, moves: dict[Path, Path]
) -> int:
    """Correct one column.

    Returns:
        Number of changed rows.
    """
    column_info = connection.execute(
        "SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column)
    )
    if column_info.fetchone() is None:  # tables of another MLflow version
        return 0
    # Table and column come from _LOCATION_COLUMNS, never from a user.
    rows = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()  # noqa: S608
    changed = [
        (new, row) for row, old in rows if (new := _relocated_location(old, moves)) is not None
    ]
    update = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"  # noqa: S608
    connection.executemany(update, changed)
    return len(changed)


def _relocated_location(location: str | None, moves: dict[Path, Path]) -> str | None:
    """New location in the same form (URI or path) as the old one; None if it is unchanged."""
    path = local_path(location)
    if path is None or location is None:
        return None
    # Compared as paths, not as text: `/a/mlruns` must not match `/a/mlruns2`.
    for old, new in moves.items():
        if path.is_relative_to(old):
            target = new / path.relative_to(old)
            return target.as_uri() if location.startswith("file:") else str(target)
    return None
