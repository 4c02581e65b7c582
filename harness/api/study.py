"""A study on disk, as `import harness` hands it out: read it, report it, confirm it, test it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import pandas as pd

from harness.api.confirm import ConfirmOptions, confirm_study, mirror_confirmation
from harness.api.test import HeldOutTestOptions, run_held_out_test
from harness.config.progress import LineProgress
from harness.config.study_files import require_study_yaml
from harness.core.errors import HarnessError, UserError
from harness.core.paths import StudyPaths, Workspace
from harness.core.records import TrialRecord
from harness.data.datasets.sources import find_data, source_folder
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.confirm.results import Confirmation
from harness.evaluation.held_out.ledger import HeldOutLedger, HeldOutTest, read_held_out_ledger
from harness.report.analysis.image_values import interval_metrics
from harness.report.page.page import write_report
from harness.report.tables.study_tables import StudyTables, leaderboard, load_study_tables
from harness.tracking.uri import resolve_tracking_store


@dataclass(frozen=True)
class Study:
    """A study on disk. Everything is read from its folder when it is asked for."""

    paths: StudyPaths
    workspace: Workspace

    @property
    def name(self) -> str:
        return self.paths.name

    @property
    def tables(self) -> StudyTables:
        """Definition, trials and epochs, as the report uses them."""
        return load_study_tables(self.paths)

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial, as in trials.csv."""
        return self.tables.trials

    @property
    def best(self) -> TrialRecord | None:
        """The leading complete trial; None before there is one."""
        tables = self.tables
        board = leaderboard(tables)
        return None if board.empty else tables.record(int(board["number"].iloc[0]))

    def report(self, *, images: bool = True, baseline: str | None = None) -> Path:
        """Write report.html and trials.csv, and put them into MLflow unless the study is running.

        Args:
            images: whether to show sample predictions.
            baseline: a study whose leading trial the leading trial of this one is compared with.

        Returns:
            The path of report.html.

        Raises:
            ConfigError: the baseline cannot be compared with this study; every reason.
        """
        baseline_paths = None if baseline is None else self.workspace.study(baseline)
        root = self._data_root() if images else None
        path = write_report(self.paths, root, images=images, baseline=baseline_paths)
        _mirror_report(self)
        return path

    @property
    def looks(self) -> HeldOutLedger:
        """The ledger of looks at sealed images."""
        return read_held_out_ledger(self.paths)

    def test(self, **options: Unpack[HeldOutTestOptions]) -> list[HeldOutTest]:
        """Open the sealed images of one data set or several, and enter that in the ledger."""
        return run_held_out_test(self.paths, self.workspace, **options)

    def confirm(self, **options: Unpack[ConfirmOptions]) -> Confirmation:
        """Train the best configurations again, on fresh seeds or folds, and compare them.

        Call it again to continue, or with larger numbers to add to what is there. The options are
        `top`, `seeds` or `folds`, and those of `run_study` that say where to train.

        Raises:
            UserError, StudyStoppedError, StudyInterrupted: as `run_study`.

        Example:
            print(harness.open_study("encoders").confirm(top=3).sentence)
        """
        return confirm_study(self.paths, self.workspace, **options)

    @property
    def confirmation(self) -> Confirmation | None:
        """What `confirm` has found so far; None before it was begun."""
        return load_confirmation(self.paths)

    def sync(self, *, tracking_uri: str | None = None, experiment: str | None = None) -> int:
        """Bring MLflow up to the study's folder; whatever is there already stays as it is.

        Args:
            tracking_uri: as in `run_study`.
            experiment: as in `run_study`.

        Returns:
            How many trials the folder holds.

        Raises:
            UserError: the study is running, or something in MLflow must be mended first.
            TrackingError: MLflow cannot be reached, or did not take everything.
        """
        from harness.tracking.sync import sync_study  # noqa: PLC0415  # brings mlflow

        config = self.tables.config
        tracker = resolve_tracking_store(
            self.workspace, self.paths, str(config.id), uri=tracking_uri, experiment=experiment
        )
        n_trials = sync_study(tracker, self.paths, config, LineProgress().stage)
        mirror_confirmation(self.paths, self.workspace, uri=tracking_uri, experiment=experiment)
        return n_trials

    def _data_root(self) -> Path | None:
        try:
            return source_folder(find_data(self.tables.config.data.root, self.workspace))
        except UserError:
            return None  # the report says that the images are missing


def open_study(name: str, *, workspace: str | Path = ".") -> Study:
    """Open an existing study.

    Raises:
        UserError: no study of that name exists; the message suggests the nearest one.
    """
    workspace_paths = Workspace.at(workspace)
    paths = workspace_paths.study(name)
    require_study_yaml(paths)
    return Study(paths, workspace_paths)


def _mirror_report(study: Study) -> None:
    from harness.core.study_lock import is_study_locked  # noqa: PLC0415
    from harness.tracking.sync import log_report  # noqa: PLC0415  # brings mlflow

    tables = study.tables
    config = tables.config
    tracker = resolve_tracking_store(study.workspace, study.paths, str(config.id))
    absent = tracker.database is not None and not tracker.database.exists()
    if absent or is_study_locked(study.paths):
        return
    try:
        log_report(tracker, study.paths, config, interval_metrics(tables))
    except HarnessError as error:
        LineProgress().stage(f"the report is not in MLflow: {error}")
