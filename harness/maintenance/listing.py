"""List of a workspace's studies, from their records alone: no database, no network library."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from harness.config.study import StudyConfig
from harness.config.study_files import read_study_config
from harness.core.errors import UserError
from harness.core.paths import StudyPaths, Workspace, check_study_name
from harness.core.records import FINISHED_STATES, read_records
from harness.core.study_lock import is_study_locked
from harness.core.timestamps import utc_timestamp

StudyState = Literal["new", "running", "stopped", "finished", "confirmed", "tested", "damaged"]
_COMMAND = re.compile(r"\s+harness \w.*$")  # the first line of a space ends with its command


@dataclass(frozen=True)
class StudySummary:
    """One study of the list.

    Attributes:
        question: `question` of study.yaml, else the first comment line of its space or definition.
        data: name or folder of the data set.
        state: new: written by hand, never run; stopped: fewer trials than asked for; finished: all
            of them; then confirmed, or tested; damaged: a file cannot be read.
        trials_done: finished trials of the study itself.
        trials_asked: number of trials of the last run; None before the first one.
        metric: objective.
        best: its best value; None before a trial is complete.
        best_trial: number of that trial.
        size_bytes: of all files in its folder.
        changed: last change of a file, UTC, ISO 8601.
        problem: reason why it is damaged.
    """

    name: str
    question: str | None
    data: str | None
    state: StudyState
    trials_done: int
    trials_asked: int | None
    metric: str | None
    best: float | None
    best_trial: int | None
    size_bytes: int
    changed: str
    problem: str | None = None


def list_studies(workspace: Workspace) -> list[StudySummary]:
    """Summaries of all folders with a study.yaml, the last changed one first."""
    folders = sorted(workspace.studies.glob("*/study.yaml"))
    summaries = [
        summary
        for path in folders
        # A folder may be renamed or deleted by another command just now.
        if (summary := summarize_study(workspace, StudyPaths(path.parent))).problem is None
        or path.is_file()
    ]
    return sorted(summaries, key=lambda summary: summary.changed, reverse=True)


def summarize_study(workspace: Workspace, paths: StudyPaths) -> StudySummary:
    """Summary of one study; a file that cannot be read makes it `damaged`."""
    size, changed = _size_and_change(paths.root)
    try:
        check_study_name(paths.name)  # a folder that was renamed or copied by hand
        config, records = read_study_config(paths), read_records(paths)
    except (UserError, OSError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())[:300]
        return StudySummary(
            paths.name, None, None, "damaged", 0, None, None, None, None, size, changed, problem
        )
    own = [record for record in records if record.imported is None]
    n_done = sum(record.state in FINISHED_STATES for record in own)
    best = config.objective.best(records)
    return StudySummary(
        name=paths.name,
        question=config.question or _first_comment(_comment_files(workspace, paths, config)),
        data=config.data.root,
        state=_state(paths, config, n_done),
        trials_done=n_done,
        trials_asked=config.budget.trials,
        metric=config.objective.metric,
        best=None if best is None else best.value,
        best_trial=None if best is None else best.number,
        size_bytes=size,
        changed=changed,
    )


def _state(paths: StudyPaths, config: StudyConfig, n_done: int) -> StudyState:
    if is_study_locked(paths):
        return "running"
    if config.id is None:
        return "new"
    if paths.test_ledger.exists():
        return "tested"
    if paths.confirm.ranking_csv.exists():
        return "confirmed"
    return "finished" if n_done >= (config.budget.trials or 1) else "stopped"


def _comment_files(workspace: Workspace, paths: StudyPaths, config: StudyConfig) -> Iterator[Path]:
    """Files whose first comment may say what the study asks, the nearest one first."""
    yield paths.study_yaml
    yield paths.space_yaml
    # A file name only, see `StudyConfig.space`; anything else is not looked up.
    if config.space is not None and Path(config.space).name == config.space:
        yield workspace.search_spaces / config.space


def _first_comment(candidates: Iterator[Path]) -> str | None:
    for path in candidates:
        try:
            with path.open(encoding="utf-8") as handle:
                line = handle.readline(1000)
        except (OSError, UnicodeDecodeError):
            continue
        if line.startswith("#") and (comment := _COMMAND.sub("", line.lstrip("# ").strip())):
            return comment
    return None


def _size_and_change(folder: Path) -> tuple[int, str]:
    """Bytes of all files below a folder, and the time of the last change, UTC."""
    n_bytes, newest = 0, 0.0
    for entry in walk_files(folder):
        if entry.name == ".lock":  # every look at the study may touch it
            continue
        try:
            facts = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # a running study replaces its files
            continue
        n_bytes, newest = n_bytes + facts.st_size, max(newest, facts.st_mtime)
    return n_bytes, utc_timestamp("seconds", datetime.fromtimestamp(newest, UTC))


def walk_files(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """All files below a folder, by one system call for each folder; links are not followed."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walk_files(Path(entry.path))
        else:
            yield entry
