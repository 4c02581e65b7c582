"""What `import harness` offers: check and run a study, open one, read it, write its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.data.sources import find_data, source_folder
from harness.errors import HarnessError, UserError, nearest
from harness.paths import StudyPaths, Workspace
from harness.rates import LearningRates, find_lr
from harness.records import TrialRecord
from harness.report.page import write_report
from harness.report.tables import StudyTables, leaderboard, load_study, write_trials_csv
from harness.search.progress import LineProgress, Progress
from harness.search.tracker import find_tracker

if TYPE_CHECKING:
    from harness.search.checking import Checked


__all__ = ["LearningRates", "Study", "check", "find_lr", "open_study", "run_study"]


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
        return load_study(self.paths)

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

    def report(self, *, images: bool = True) -> Path:
        """Write report.html and trials.csv, and put them into MLflow unless the study is running.

        Returns:
            The path of report.html.
        """
        path = write_report(self.paths, self._data_root() if images else None, images=images)
        _mirror_report(self)
        return path

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
        from harness.search.tracking import sync  # noqa: PLC0415  # brings mlflow

        config = self.tables.config
        tracker = find_tracker(
            self.workspace, self.paths, str(config.id), uri=tracking_uri, experiment=experiment
        )
        return sync(tracker, self.paths, config, LineProgress().stage)

    def _data_root(self) -> Path | None:
        try:
            return source_folder(find_data(self.tables.config.data.root, self.workspace))
        except UserError:
            return None  # the report says that the images are missing


def run_study(
    study: str | None = None,
    *,
    space: str | Path | Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    trials: int | None = None,
    fixed: Mapping[str, Any] | None = None,
    import_from: Sequence[str] = (),
    sampler: str | None = None,
    pruner: str | None = None,
    seed: int | None = None,
    skip_bad: bool = False,
    parts: str | Path | None = None,
    label: Sequence[str] = (),
    ignore: Sequence[str] = (),
    device: str = "auto",
    gpus: str | None = None,
    per_gpu: int | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    workspace: str | Path = ".",
    progress: Progress | None = None,
) -> Study:
    """Run a study, or continue it, until it has `trials` finished trials in all.

    Args:
        study: its name; None takes the stem of the space file.
        space: a space file, YAML or CSV (a path, or a name in search_spaces/), or a dict.
        data: a folder with images/ and masks/, or the name of a data set; None: kvasir-seg.
        trials: finished trials in all, those of earlier calls included; None: as recorded, else as
            many as a CSV has rows, else 20.
        fixed: values by full key laid over the space's, e.g. `{"train.epochs": 5}`;
            `{"model.encoder_name": {"from": "encoders"}}` takes that of another study's best trial.
        import_from: names of earlier studies whose finished trials are taken over where they fit.
        sampler: tpe, random, gp, qmc or grid.
        pruner: none, median, percentile, halving, hyperband, patient or curve.
        seed: of the study; each trial's own seed follows from it.
        skip_bad: leave out the pairs that cannot be used when the split is made.
        parts: a Python file that registers networks, losses or metrics; copied into the study.
        label: columns of a CSV space that are kept as tags of the trials.
        ignore: columns of a CSV space that are left out.
        device: auto, cpu, cuda, cuda:1 or mps; of the one worker, where the next three are None.
        gpus: "all", or positions among those of CUDA_VISIBLE_DEVICES, "0,2": a worker on each.
        per_gpu: workers on each GPU.
        workers: workers on the CPU, which share its threads.
        timeout_s: stop after so many seconds; what runs then is put by, and continued next time.
        storage: address of the database that holds Optuna's index, without a password; None:
            optuna.db of the workspace. It can be rebuilt from the trial folders, whichever it is.
        tracking_uri: an MLflow server or database; None: MLFLOW_TRACKING_URI, else mlflow.db of
            the workspace. Credentials come from MLflow's own variables only.
        experiment: name of the study's experiment in MLflow, when it is made; None: the study's.
        workspace: the folder with studies/, data/ and the databases.
        progress: who is told what happens; None: lines on standard error.

    Raises:
        UserError: something must be changed first; nothing was written.
        StudyStoppedError: the same cause failed three trials in a row.
        StudyInterrupted: a signal arrived; call again to continue.

    Example:
        study = harness.run_study(space="quickstart.yaml", data="synthetic", trials=6)
    """
    from harness.search.launch import Request, launch  # noqa: PLC0415  # brings torch

    place = Workspace(Path(workspace).resolve())
    settings = {
        "data.root": None if data is None else str(data),
        "sampler.name": sampler,
        "pruner.name": pruner,
        "seed": seed,
    }
    request = Request(
        workspace=place,
        study=study,
        space=str(space) if isinstance(space, Path) else space,
        trials=trials,
        skip_bad=skip_bad,
        parts=None if parts is None else Path(parts),
        label=tuple(label),
        ignore=tuple(ignore),
        device=device,
        gpus=gpus,
        per_gpu=per_gpu,
        workers=workers,
        asked={key: value for key, value in settings.items() if value is not None},
        fixed=dict(fixed or {}),
        import_from=tuple(import_from),
        timeout_s=timeout_s,
        storage=storage,
        tracking_uri=tracking_uri,
        experiment=experiment,
    )
    paths = launch(request, progress or LineProgress())
    done = Study(paths, place)
    write_trials_csv(done.tables, paths.trials_csv)
    return done


def check(
    study: str | None = None,
    *,
    space: str | Path | Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    fixed: Mapping[str, Any] | None = None,
    skip_bad: bool = False,
    parts: str | Path | None = None,
    label: Sequence[str] = (),
    ignore: Sequence[str] = (),
    workspace: str | Path = ".",
    progress: Progress | None = None,
) -> "Checked":
    """Everything that can be known before training: the space, every network in it, the data.

    Nothing is fetched, and nothing written but caches.

    Args:
        study: whose space, data and settings are checked, where they are not given here.
        space: as in `run_study`.
        data: as in `run_study`; None and none found: the space alone is checked.
        fixed: values by full key laid over the space's.
        skip_bad: pairs that cannot be used would be left out.
        parts, label, ignore: as in `run_study`.
        workspace: the folder with studies/ and data/.
        progress: who is told what happens; None: lines on standard error.

    Raises:
        ConfigError: the space or the settings cannot be read; every mistake in them.

    Example:
        assert harness.check(space="encoders.yaml", data="polyps").good
    """
    from harness.search import checking  # noqa: PLC0415  # brings torch
    from harness.search.launch import Request  # noqa: PLC0415

    request = Request(
        workspace=Workspace(Path(workspace).resolve()),
        study=study,
        space=str(space) if isinstance(space, Path) else space,
        skip_bad=skip_bad,
        parts=None if parts is None else Path(parts),
        label=tuple(label),
        ignore=tuple(ignore),
        asked={} if data is None else {"data.root": str(data)},
        fixed=dict(fixed or {}),
    )
    return checking.check(request, progress or LineProgress())


def open_study(name: str, *, workspace: str | Path = ".") -> Study:
    """Open a study that has begun. Raises UserError with the nearest name if there is none."""
    place = Workspace(Path(workspace).resolve())
    paths = place.study(name)
    if not paths.study_yaml.exists():
        known = [path.parent.name for path in place.studies.glob("*/study.yaml")]
        raise UserError(
            f"no study {name} in {place.studies}"
            + (nearest(name, known) or "; start one with `harness run`")
        )
    return Study(paths, place)


def _mirror_report(study: Study) -> None:
    from harness.search.lock import is_led  # noqa: PLC0415
    from harness.search.tracking import log_report  # noqa: PLC0415  # brings mlflow

    config = study.tables.config
    tracker = find_tracker(study.workspace, study.paths, str(config.id))
    absent = tracker.database is not None and not tracker.database.exists()
    if absent or is_led(study.paths):
        return
    try:
        log_report(tracker, study.paths, config)
    except HarnessError as error:
        LineProgress().stage(f"the report is not in MLflow: {error}")
