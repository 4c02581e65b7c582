"""`harness confirm`."""

from pathlib import Path
from typing import Annotated

import typer

from harness import api
from harness.cli.display import open_progress
from harness.cli.options import ExperimentOption, StorageOption, TrackingUriOption
from harness.cli.run import parse_duration
from harness.cli.tables import fit_table, stdout_console
from harness.evaluation.confirm.results import Confirmation, ConfirmedConfiguration
from harness.report.page.confirmation import requirement_line


def confirm(
    study: Annotated[str, typer.Option(help="Name of the study.")],
    top: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="How many configurations; as begun, else 5."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=2, max=100, help="Fresh seeds of each; as begun, else 3."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, max=100, help="Cross-validation over train and val, not seeds."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    gpus: Annotated[
        str | None, typer.Option(help="Train on several GPUs: all, or some, e.g. 0,2.")
    ] = None,
    per_gpu: Annotated[
        int | None, typer.Option(min=1, max=64, help="Trials at once on each GPU.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Trials at once on the CPU.")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(help="Stop after so long, e.g. 8h, 90m, 1h30m or 3600 (s).")
    ] = None,
    storage: StorageOption = None,
    tracking_uri: TrackingUriOption = None,
    experiment: ExperimentOption = None,
    workspace: Annotated[
        Path, typer.Option(help="Folder of studies, data and databases.")
    ] = Path(),
) -> None:
    """Train the best configurations again, on fresh seeds or folds, and rank them by that.

    Example: harness confirm --study encoders --top 5 --seeds 3
    """
    opened = api.open_study(study, workspace=workspace)
    timeout_s = None if timeout is None else parse_duration(timeout)
    progress = open_progress()
    try:
        confirmation = opened.confirm(
            top=top,
            seeds=seeds,
            folds=folds,
            device=device,
            gpus=gpus,
            per_gpu=per_gpu,
            workers=workers,
            timeout_s=timeout_s,
            storage=storage,
            tracking_uri=tracking_uri,
            experiment=experiment,
            progress=progress,
        )
    finally:
        progress.close()
    print_confirmation(confirmation, opened.tables.config.objective.metric)
    next_command = "report" if confirmation.decision is not None else "confirm"
    progress.stage(f"next: harness {next_command} --study {study}")


def print_confirmation(confirmation: Confirmation, metric: str) -> None:
    """The configurations, best first, and what may be said of them, on standard output."""
    console = stdout_console()
    runs = f"{confirmation.kind}s"
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
