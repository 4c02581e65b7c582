"""Command `harness run`: run a study or continue it."""

from contextlib import closing
from pathlib import Path

from harness import api
from harness.cli.arguments import api_arguments, check_name
from harness.cli.compute_options import (
    ClusterOption,
    CpusPerTrialOption,
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
    SamplerOption,
    SeedOption,
    SetOption,
    SkipBadOption,
    SpaceOption,
    StorageOption,
    TrackingUriOption,
    TrialsOption,
    WorkspaceOption,
)
from harness.config.study import PrunerConfig, SamplerConfig
from harness.config.study_files import read_study_config
from harness.core.settings import literal_values


def run(
    space: SpaceOption = None,
    study: NewStudyOption = None,
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
    workspace: WorkspaceOption = Path(),
) -> None:
    """Run a study, or continue it, until it has --trials finished trials.

    A study that has started keeps its recorded settings; the defaults are those of a new study.

    Example: harness run --space encoders.yaml --trials 40 --set train.epochs=10
    """
    parameters = locals()  # first of all: exactly the options of the command
    check_name("--sampler", "sampler", sampler, literal_values(SamplerConfig, "name"))
    check_name("--pruner", "pruner", pruner, literal_values(PrunerConfig, "name"))
    arguments = api_arguments(parameters)
    # closing: after an exception rich's live display would leave the cursor hidden.
    with closing(open_progress()) as progress:
        finished_study = retry_after_download(
            lambda: api.run_study(**arguments, progress=progress), workspace
        )
    # The best of many trials on a few images is too good by chance, hence "not confirmed".
    best = finished_study.best
    if best is not None and best.value is not None:
        metric = read_study_config(finished_study.paths).objective.metric
        progress.stage(f"best {metric} {best.value:.4f}: trial {best.number}, not confirmed")
    progress.stage(f"next: harness report --study {finished_study.name}")
