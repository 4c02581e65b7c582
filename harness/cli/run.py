"""Command `harness run`: run a study or continue it."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

from harness import api
from harness.cli.arguments import api_arguments, check_name, same_workspace
from harness.cli.compute_options import (
    ClusterOption,
    CpusPerTrialOption,
    DataOnDeviceOption,
    GpusOption,
    GpusPerTrialOption,
    PerGpuOption,
    SbatchOption,
    ScratchOption,
    ShipCodeOption,
    TimeoutOption,
    TrustedNetworkOption,
    WorkersOption,
)
from harness.cli.display import open_progress
from harness.cli.download_prompt import retry_after_download
from harness.cli.options import (
    STORAGE,
    DataOption,
    DeviceOption,
    ExperimentOption,
    FromOption,
    IgnoreOption,
    LabelOption,
    NewStudyOption,
    ObjectiveOption,
    PartsOption,
    PriorOption,
    PrunerOption,
    QuestionOption,
    SamplerOption,
    SeedOption,
    SetOption,
    SkipBadOption,
    SpaceOption,
    StorageOption,
    TrackingUriOption,
    TrialsOption,
    WorkspaceOption,
    option,
)
from harness.config.progress import ProgressReporter
from harness.config.study import PrunerConfig, SamplerConfig
from harness.config.study_files import read_study_config
from harness.core.errors import HarnessError
from harness.core.records import read_records
from harness.core.settings import literal_values

NoReportOption = Annotated[
    bool,
    option(
        "Write no report at the end.",
        "--no-report",
        panel=STORAGE,
        default="report.html in the folder of the study",
    ),
]
N_SHOWN = 3  # best trials named after a run


def run(
    space: SpaceOption = None,
    study: NewStudyOption = None,
    question: QuestionOption = None,
    trials: TrialsOption = None,
    data: DataOption = None,
    set_: SetOption = None,
    from_: FromOption = None,
    prior: PriorOption = None,
    sampler: SamplerOption = None,
    pruner: PrunerOption = None,
    seed: SeedOption = None,
    objective: ObjectiveOption = None,
    skip_bad: SkipBadOption = False,
    parts: PartsOption = None,
    label: LabelOption = None,
    ignore: IgnoreOption = None,
    device: DeviceOption = "auto",
    gpus: GpusOption = None,
    per_gpu: PerGpuOption = None,
    workers: WorkersOption = None,
    data_on_device: DataOnDeviceOption = False,
    timeout: TimeoutOption = None,
    cluster: ClusterOption = None,
    gpus_per_trial: GpusPerTrialOption = None,
    cpus_per_trial: CpusPerTrialOption = None,
    scratch: ScratchOption = None,
    trusted_network: TrustedNetworkOption = False,
    ship_code: ShipCodeOption = False,
    sbatch: SbatchOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingUriOption = None,
    experiment: ExperimentOption = None,
    no_report: NoReportOption = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Run a study, or continue it, until it has --trials finished trials.

    A study that has started keeps its recorded settings; the defaults are those of a new study.

    Example: harness run --space encoders.yaml --trials 40 --set train.epochs=10
    """
    parameters = locals()  # first of all: exactly the options of the command
    parameters.pop("no_report")  # of the command alone
    check_name("--sampler", "sampler", sampler, literal_values(SamplerConfig, "name"))
    check_name("--pruner", "pruner", pruner, literal_values(PrunerConfig, "name"))
    arguments = api_arguments(parameters)
    study_after = retry_after_download(
        lambda progress: api.run_study(**arguments, progress=progress), workspace
    )
    with closing(open_progress()) as progress:
        show_results(study_after, progress, workspace, writes_report=not no_report)


def show_results(
    study: api.Study,
    progress: ProgressReporter,
    workspace: Path = Path(),
    *,
    writes_report: bool = True,
) -> None:
    """Show the best trials, write the report, and name the next command."""
    objective = read_study_config(study.paths).objective
    ranked = objective.ranked(read_records(study.paths))
    here = same_workspace(workspace)
    report_command = f"harness report --study {study.name}{here}"
    if not ranked:
        progress.stage(f"next: {report_command}")
        return
    # The best of many trials on a few images is too good by chance, hence "not confirmed".
    best, *others = (f"{record.value:.4f}: trial {record.number}" for record in ranked[:N_SHOWN])
    progress.stage(f"best {objective.metric} {best}, not confirmed")
    if others:
        progress.stage(f"then {', '.join(others)}")
    if not writes_report:
        progress.stage(f"no report was written; write it with: {report_command}")
    elif (path := _write_report(study, progress)) is not None:
        progress.stage(f"report: {path}")
    progress.stage(f"MLflow: harness ui{here}")
    progress.stage(f"next: harness confirm --study {study.name}{here}")


def _write_report(study: api.Study, progress: ProgressReporter) -> Path | None:
    """Write the report if trials have ended since it was written; None if it cannot be written."""
    report, table = study.paths.report_html, study.paths.trials_csv
    if report.exists() and report.stat().st_mtime_ns >= table.stat().st_mtime_ns:
        return report
    try:
        return study.report()
    except (HarnessError, OSError) as error:
        # The study is complete whether or not it can be shown.
        progress.stage(f"warning: the report cannot be written: {error}")
        return None
