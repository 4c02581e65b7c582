"""Confirmation of a study: the work behind `Study.confirm`.

Apart from `harness.api.study`, which `harness report` and `harness trials` use without torch.
"""

from typing import Literal, TypedDict, Unpack

from harness.api.notebook_progress import default_progress
from harness.config.progress import ProgressReporter
from harness.core.errors import HarnessError
from harness.core.paths import StudyPaths, Workspace
from harness.evaluation.confirm.confirm import (
    ConfirmationSize,
    freeze_confirmed_rule,
    measure_native_size,
    run_confirmation,
)
from harness.evaluation.confirm.load_confirmation import load_confirmation
from harness.evaluation.confirm.mirror import mirror_confirmation
from harness.evaluation.confirm.results import Confirmation, write_ranking_csv
from harness.report.tables.study_tables import load_study_tables, write_trials_csv
from harness.search.definition.options import RunOptions


class ConfirmOptions(TypedDict, total=False):
    """Arguments of `Study.confirm`.

    Attributes:
        top: number of different configurations; None: the recorded number, else 5.
        seeds: number of fresh seeds of each, at least 2; None: the recorded number, else 3.
        folds: number of folds of a cross-validation over train and val images, instead of seeds.
        device, gpus, per_gpu, workers, data_on_device, timeout_s, cluster, gpus_per_trial,
            cpus_per_trial, scratch, trusted_network, ship_code, sbatch, storage, tracking_uri,
            experiment, progress: as in `run_study`.
    """

    top: int | None
    seeds: int | None
    folds: int | None
    device: str
    gpus: str | None
    per_gpu: int | Literal["auto"] | None
    workers: int | Literal["auto", "max"] | None
    data_on_device: bool
    timeout_s: float | None
    cluster: str | None
    gpus_per_trial: float | None
    cpus_per_trial: int | None
    scratch: str | None
    trusted_network: bool
    ship_code: bool
    sbatch: str | None
    storage: str | None
    tracking_uri: str | None
    experiment: str | None
    progress: ProgressReporter | None


def confirm_study(
    paths: StudyPaths, workspace: Workspace, **options: Unpack[ConfirmOptions]
) -> Confirmation:
    """Train the best configurations again, compare them, and register the winner in MLflow.

    Raises:
        UserError, StudyStoppedError, StudyInterrupted: as in `run_study`.
    """
    progress = options.get("progress") or default_progress()
    run_options = RunOptions.from_arguments(
        {"study": paths.name, "workspace": workspace.root, **options}
    )
    size = ConfirmationSize(options.get("top"), options.get("seeds"), options.get("folds"))
    # Returns also where --timeout ended it early: what follows then describes the runs so far.
    run_confirmation(run_options, size, progress)
    # The table first: the measurement below is slow, and its failure must not lose it.
    write_trials_csv(load_study_tables(paths.confirm), paths.confirm.trials_csv)
    try:
        measure_native_size(workspace, paths, run_options.compute.device, progress)
    except HarnessError as error:
        # The ranking stands without it: days of training must not end in this error.
        progress.stage(f"not measured at the images' own sizes: {error}")
    confirmation = load_confirmation(paths)
    assert confirmation is not None, "run_confirmation has just written it"
    write_ranking_csv(paths, confirmation)
    try:
        freeze_confirmed_rule(run_options, progress)
    except (HarnessError, OSError) as error:
        progress.stage(f"the decision rule is chosen when it is first needed, not now: {error}")
    try:
        stores = run_options.stores
        mirror_confirmation(paths, workspace, uri=stores.tracking_uri, experiment=stores.experiment)
    except HarnessError as error:
        progress.stage(
            f"the confirmed winner is not in MLflow ({error}); send it with: "
            f"harness sync --study {paths.name}"
        )
    return confirmation
