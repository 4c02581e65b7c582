"""Study on disk as `import harness` returns it: read, report, confirm, test and sync it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from harness.api.notebook_progress import default_progress
from harness.config.progress import LineProgress, ProgressReporter
from harness.config.study_files import read_study_config, require_study_yaml
from harness.core.errors import UserError
from harness.core.paths import StudyPaths, Workspace
from harness.core.records import TrialRecord, read_records
from harness.data.datasets.sources import find_data, source_folder
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.confirm.results import Confirmation
from harness.evaluation.held_out.ledger import HeldOutLedger, HeldOutTest, read_held_out_ledger
from harness.evaluation.held_out.mlflow_metrics import mirror_held_out_tests
from harness.maintenance.complete import try_to_complete
from harness.search.definition.options import RunOptions
from harness.tracking.uri import resolve_tracking_store

if TYPE_CHECKING:
    import pandas as pd

    from harness.api.confirm import ConfirmOptions
    from harness.api.export import ExportOptions
    from harness.api.predict import PredictorOptions
    from harness.deploy.export.bundle import ExportedBundle
    from harness.deploy.predict.run import PredictionSummary
    from harness.deploy.predictor import Predictor
    from harness.report.tables.study_tables import StudyTables


class HeldOutTestOptions(TypedDict, total=False):
    """Arguments of `Study.test`.

    Attributes:
        trial: number of a trial of the search; None: the confirmed choice.
        ensemble: average the probabilities of all confirmed seeds of the choice.
        tta: average the probabilities over four flips of each image.
        on: folders of other data sets by name; they are tested instead of the study's test images.
        device: auto, cpu, cuda, cuda:1 or mps.
        progress: receives messages; None: they are printed on standard error.
    """

    trial: int | None
    ensemble: bool
    tta: bool
    on: Mapping[str, str | Path]
    device: str
    progress: ProgressReporter | None


@dataclass(frozen=True)
class Study:
    """A study on disk. Each property reads the study's folder when it is used."""

    paths: StudyPaths
    workspace: Workspace

    @property
    def name(self) -> str:
        return self.paths.name

    @property
    def tables(self) -> "StudyTables":
        """Definition, trials and epochs in the form that the report uses."""
        from harness.report.tables.study_tables import load_study_tables  # noqa: PLC0415  # imports pandas

        return load_study_tables(self.paths)

    @property
    def trials(self) -> "pd.DataFrame":
        """One row per trial, as in trials.csv."""
        # Read from disk at each access: a study may be running in another process.
        return self.tables.trials

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial; None before a trial is complete."""
        return read_study_config(self.paths).objective.best(read_records(self.paths))

    def report(self, *, images: bool = True, baseline: str | None = None) -> Path:
        """Write report.html and trials.csv; copy them to MLflow unless the study is running.

        Args:
            images: show sample predictions.
            baseline: name of a study; its leading trial is compared with that of this study.

        Returns:
            The path of report.html.

        Raises:
            ConfigError: the baseline cannot be compared with this study; every reason is given.
        """
        from harness.api.report import write_study_report  # noqa: PLC0415  # imports pandas

        root = self._data_root() if images else None
        return write_study_report(
            self.paths, self.workspace, root, images=images, baseline=baseline
        )

    @property
    def looks(self) -> HeldOutLedger:
        """Ledger of all held-out tests of this study."""
        return read_held_out_ledger(self.paths)

    def test(self, **options: Unpack[HeldOutTestOptions]) -> list[HeldOutTest]:
        """Evaluate the chosen weights on held-out images, and record each test in the ledger.

        Raises:
            UserError: the user must change something first; no image was opened.
            HarnessError: a test failed after images were opened; the ledger has it.

        Example:
            harness.open_study("encoders").test(trial=7)
        """
        return run_held_out_test(self.paths, self.workspace, **options)

    def confirm(self, **options: "Unpack[ConfirmOptions]") -> Confirmation:
        """Train the best configurations again, on fresh seeds or folds, and compare them.

        A second call continues an interrupted confirmation; larger numbers extend a finished one.
        The arguments are those of `ConfirmOptions`.

        Raises:
            UserError, StudyStoppedError, StudyInterrupted: as in `run_study`.

        Example:
            print(harness.open_study("encoders").confirm(top=3).sentence)
        """
        from harness.api.confirm import confirm_study  # noqa: PLC0415  # imports torch

        return confirm_study(self.paths, self.workspace, **options)

    @property
    def confirmation(self) -> Confirmation | None:
        """Results of `confirm` so far; None before the first call."""
        return load_confirmation(self.paths)

    def export(self, folder: str | Path, **options: "Unpack[ExportOptions]") -> "ExportedBundle":
        """Write a network as a folder that runs without this package, after a test of parity.

        Args:
            folder: absent or empty; its files and its parity are described in docs/export.md.
            options: those of `ExportOptions`.

        Raises:
            UserError: a package is missing, the folder is in use, the network cannot be exported,
                or the result disagrees with the study; nothing has been written then.

        Example:
            print(harness.open_study("encoders").export("bundle").parity.sentence)
        """
        from harness.api.export import export_study  # noqa: PLC0415  # imports torch

        return export_study(self.paths, self.workspace, Path(folder), **options)

    def predictor(self, **options: "Unpack[PredictorOptions]") -> "Predictor":
        """Open the study's networks for prediction of arrays.

        The arguments are those of `PredictorOptions`.

        Raises:
            UserError: there are no such weights, or the validation images that the decision rule
                needs are missing.

        Example:
            mask = harness.open_study("encoders").predictor().predict([image])[0].mask
        """
        from harness.api.predict import open_predictor  # noqa: PLC0415  # imports torch

        return open_predictor(self.paths, self.workspace, **options)

    def predict(
        self,
        files: Sequence[str | Path],
        *,
        out: str | Path,
        probabilities: bool = False,
        overlays: bool = False,
        **options: "Unpack[PredictorOptions]",
    ) -> "PredictionSummary":
        """Write the masks of files and folders into a folder, and predictions.csv.

        A second call continues an interrupted one. The other arguments are those of
        `PredictorOptions`.

        Args:
            files: images, and folders that are searched with their subfolders.
            out: folder of the results.
            probabilities: also write the probabilities, as 16-bit PNG.
            overlays: also draw each mask over its image.

        Raises:
            UserError: as `predictor`; or files or `out` cannot be used. A file that cannot be
                predicted raises nothing: it is among the `failures` of the result.

        Example:
            harness.open_study("encoders").predict(["new/"], out="masks/")
        """
        from harness.api.predict import predict_into  # noqa: PLC0415  # imports torch

        return predict_into(
            self.paths,
            self.workspace,
            files,
            out,
            probabilities=probabilities,
            overlays=overlays,
            **options,
        )

    def sync(self, *, tracking_uri: str | None = None, experiment: str | None = None) -> int:
        """Send everything to MLflow that is in the study's folder and not yet there.

        Args:
            tracking_uri: as in `run_study`.
            experiment: as in `run_study`.

        Returns:
            Number of trials in the folder.

        Raises:
            UserError: the study is running, or something in MLflow must be repaired first.
            TrackingError: MLflow cannot be reached, or did not accept everything.
        """
        from harness.evaluation.confirm.mirror import mirror_confirmation  # noqa: PLC0415  # as below
        from harness.tracking.sync import sync_study  # noqa: PLC0415  # imports mlflow

        config = self.tables.config
        tracking_store = resolve_tracking_store(
            self.workspace, self.paths, str(config.id), uri=tracking_uri, experiment=experiment
        )
        n_trials = sync_study(tracking_store, self.paths, config, LineProgress().stage)
        mirror_confirmation(self.paths, self.workspace, uri=tracking_uri, experiment=experiment)
        return n_trials

    def _data_root(self) -> Path | None:
        try:
            return source_folder(find_data(self.tables.config.data.root, self.workspace))
        except UserError:
            return None  # the report states that the images are missing


def open_study(name: str, *, workspace: str | Path = ".") -> Study:
    """Open an existing study.

    Raises:
        UserError: no study of that name exists; the message suggests the nearest one.
    """
    workspace_paths = Workspace.at(workspace)
    paths = workspace_paths.study(name)
    try_to_complete(workspace_paths, name, LineProgress().stage)
    # Now rather than at the first property, so that a misspelt name fails where it was written.
    require_study_yaml(paths)
    return Study(paths, workspace_paths)


def run_held_out_test(
    paths: StudyPaths, workspace: Workspace, **options: Unpack[HeldOutTestOptions]
) -> list[HeldOutTest]:
    """Implement `Study.test`: run the tests, then copy the ledger's numbers to MLflow."""
    from harness.evaluation.held_out.run import HeldOutRequest, run_test  # noqa: PLC0415  # imports torch

    progress = options.get("progress") or default_progress()
    request = HeldOutRequest(
        trial=options.get("trial"),
        ensemble=options.get("ensemble", False),
        tta=options.get("tta", False),
        on={name: str(folder) for name, folder in options.get("on", {}).items()},
    )
    run_options = RunOptions.from_arguments(
        # A missing device is None, which `from_arguments`
        # drops: the default stays declared in one place.
        {"study": paths.name, "workspace": workspace.root, "device": options.get("device")}
    )
    tests = run_test(run_options, request, progress)
    mirror_held_out_tests(workspace, paths, progress)
    return tests
