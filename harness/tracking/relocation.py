"""A workspace that was moved or copied, and MLflow's tables, which hold absolute paths of files.

MLflow has no call that changes where an experiment or a run keeps its files, and a path relative
to the database is made absolute when it is stored (mlflow 3.17); hence the tables themselves.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from harness.core.sqlite_file import BUSY_TIMEOUT_S

STUDY_TAG = "harness.study_id"
_LOCATION_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_MLRUNS = "mlruns"


def relocate_artifacts(database: Path, mlruns: Path, study_id: str | None = None) -> str:
    """Let the tables of a SQLite file name the folder in which a workspace keeps its files now.

    Files are neither moved nor removed.

    Args:
        database: MLflow's, with its tables.
        mlruns: where the files belong, `<workspace>/mlruns`; those of a study in a folder below
            it that has the study's id as its name.
        study_id: the one study that follows; None: the database is the workspace's own, and
            whatever lay below its mlruns/ follows, the user's own experiments, too.

    Returns:
        What was corrected, in one line; empty if nothing was.
    """
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
        f"{database}: names {old_folders[0]} as the place of its files, and the workspace was "
        "moved or "
        f"copied: corrected to {moves[old_folders[0]]}"
    )


def local_path(location: str | None) -> Path | None:
    """The path of a `file:` URI, or of a plain absolute path; None for any other place."""
    if location is None or not location.startswith(("file:", "/")):
        return None
    return Path(unquote(urlsplit(location).path) if location.startswith("file:") else location)


def _folder_moves(
    connection: sqlite3.Connection, mlruns: Path, only_study: str | None
) -> Iterator[tuple[Path, Path]]:
    """Old and new folders: of mlruns/, or of the one study."""
    studies = connection.execute(
        "SELECT artifact_location, value FROM experiments JOIN experiment_tags"
        " ON experiments.experiment_id = experiment_tags.experiment_id WHERE key = ?",
        (STUDY_TAG,),
    )
    for location, study_id in studies.fetchall():
        folder = local_path(location)
        if folder is None or folder.name != study_id or folder.parent.name != _MLRUNS:
            continue  # the user chose another place
        if folder.parent == mlruns:
            continue
        if only_study is None:
            yield folder.parent, mlruns
        elif study_id == only_study:
            yield folder, mlruns / study_id


def _default_experiment_move(connection: sqlite3.Connection, mlruns: Path) -> dict[Path, Path]:
    """MLflow places its experiment 0 in the current folder of the process that made the tables."""
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
    """Correct one column; how many rows were."""
    column_info = connection.execute(
        "SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column)
    )
    if column_info.fetchone() is None:  # the tables of another version
        return 0
    # Table and column come from _PLACES, never from a user.
    rows = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()  # noqa: S608
    changed = [
        (new, row) for row, old in rows if (new := _relocated_location(old, moves)) is not None
    ]
    update = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"  # noqa: S608
    connection.executemany(update, changed)
    return len(changed)


def _relocated_location(location: str | None, moves: dict[Path, Path]) -> str | None:
    """The new location in the form of the old one; None: it stays."""
    path = local_path(location)
    if path is None or location is None:
        return None
    for old, new in moves.items():
        if path.is_relative_to(old):
            target = new / path.relative_to(old)
            return target.as_uri() if location.startswith("file:") else str(target)
    return None
