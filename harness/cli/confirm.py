"""Command `harness confirm`: train the best configurations again and print the ranking."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

from harness import api
from harness.cli.arguments import api_arguments, same_workspace
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
from harness.cli.options import (
    SEARCH,
    DeviceOption,
    ExperimentOption,
    StorageOption,
    StudyOption,
    TrackingUriOption,
    WorkspaceOption,
    option,
)
from harness.cli.tables import fit_table, stdout_console
from harness.evaluation.confirm.results import Confirmation, ConfirmedConfiguration
from harness.report.page.confirmation import requirement_line

TopOption = Annotated[
    int | None,
    option(
        "Number of configurations.",
        example="--top 3",
        panel=SEARCH,
        default="that of the recorded confirmation, otherwise 5",
        metavar="N",
        min=1,
        max=100,
    ),
]
SeedsOption = Annotated[
    int | None,
    option(
        "Number of fresh seeds of each configuration.",
        example="--seeds 5",
        panel=SEARCH,
        default="that of the recorded confirmation, otherwise 3",
        metavar="N",
        min=2,
        max=100,
    ),
]
FoldsOption = Annotated[
    int | None,
    option(
        "Cross-validate over the train and val images in this many folds, instead of seeds.",
        example="--folds 5",
        panel=SEARCH,
        default="seeds",
        metavar="N",
        min=2,
        max=100,
    ),
]


def confirm(
    study: StudyOption,
    top: TopOption = None,
    seeds: SeedsOption = None,
    folds: FoldsOption = None,
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
    workspace: WorkspaceOption = Path(),
) -> None:
    """Train the best configurations again on fresh seeds or folds, and rank them by the result.

    Example: harness confirm --study encoders --top 5 --seeds 3
    """
    arguments = api_arguments(locals())
    opened = api.open_study(arguments.pop("study"), workspace=arguments.pop("workspace"))
    with closing(open_progress()) as progress:
        confirmation = opened.confirm(**arguments, progress=progress)
    print_confirmation(confirmation, opened.tables.config.objective.metric)
    # A confirmation that was stopped has no decision yet; the same command continues it.
    next_command = "report" if confirmation.decision is not None else "confirm"
    progress.stage(f"next: harness {next_command} --study {study}{same_workspace(workspace)}")


def print_confirmation(confirmation: Confirmation, metric: str) -> None:
    """Print the configurations, best first, and the decision between them, on standard output."""
    console = stdout_console()
    runs = f"{confirmation.kind}s"
    # The verdict stands early: fit_table folds the last columns on a narrow terminal.
    columns = ("rank", "trial", "verdict", "confirmed", "95 % interval", "searched", "optimism")
    rows = [
        (str(rank), str(row.trial), *_cells(row, confirmation.parts))
        for rank, row in enumerate(confirmation.rows, start=1)
    ]
    title = f"{confirmation.study}: {metric}, best first"
    table = fit_table(title, (*columns, runs, f"sd over {runs}", "own Dice"), rows, console.width)
    console.print(table)
    console.print(confirmation.sentence, markup=False, soft_wrap=True)
    power_line = requirement_line(confirmation)
    if power_line:
        console.print(power_line, markup=False, soft_wrap=True)


def _cells(row: ConfirmedConfiguration, parts: int) -> list[str]:
    interval = "" if row.interval is None else f"{row.interval.low:.4f} to {row.interval.high:.4f}"
    return [
        row.verdict or "–",
        _number(row.mean),
        interval,
        _number(row.searched),
        _number(row.optimism, "+.4f"),
        f"{len(row.values)} of {parts}",
        _number(row.deviation),
        _number(row.own.get("dice")),
    ]


def _number(value: float | None, form: str = ".4f") -> str:
    return "–" if value is None else format(value, form)
