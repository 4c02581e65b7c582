"""Command `harness status`: what runs in a workspace, once or again and again."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from harness.cli.options import WorkspaceOption
from harness.cli.tables import fit_table, stdout_console
from harness.core.paths import Workspace
from harness.core.text import format_bytes, format_duration
from harness.core.timestamps import utc_timestamp
from harness.maintenance.status import GpuUse, StudyProgress, gpu_use, running_studies

COLUMNS = ("trial", "epoch", "left", "value", "device")


def status(
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again and again, until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, metavar="SECONDS", help="Pause of --watch.")
    ] = 2.0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Show what runs now: trials, epochs, time left, memory and GPUs.

    Example: harness status --watch
    """
    workspace_paths = Workspace.at(workspace)
    try:
        if watch and sys.stdout.isatty() and not json_:
            _watch_live(workspace_paths, interval)
        while True:
            _print_block(workspace_paths, as_json=json_, dated=watch)
            if not watch:
                return
            time.sleep(interval)
    except KeyboardInterrupt:  # the way to end --watch, so no error
        return


def _watch_live(workspace: Workspace, interval: float) -> None:
    """Redraw the same lines of the terminal until Ctrl-C."""
    console = stdout_console()
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            studies, gpus = running_studies(workspace), gpu_use()
            live.update(render_status(studies, gpus, console.width), refresh=True)
            time.sleep(interval)


def _print_block(workspace: Workspace, *, as_json: bool, dated: bool) -> None:
    studies, gpus = running_studies(workspace), gpu_use()
    if as_json:
        block = {
            "studies": [asdict(study) for study in studies],
            "gpus": [asdict(gpu) for gpu in gpus],
        }
        # One line each, so that a reader of --watch can split them.
        sys.stdout.write(json.dumps(block) + "\n")
    else:
        console = stdout_console()
        if dated:
            console.print(utc_timestamp("seconds"), markup=False)
        console.print(render_status(studies, gpus, console.width))
    sys.stdout.flush()


def render_status(studies: list[StudyProgress], gpus: list[GpuUse], width: int) -> RenderableType:
    """Head and trials of each study, then the GPUs."""
    parts: list[RenderableType] = []
    for study in studies:
        parts.append(Text(_headline(study)))
        if study.trials:
            rows = [
                (
                    str(trial.number),
                    f"{trial.epoch} of {trial.epochs}",
                    "" if trial.seconds_left is None else format_duration(trial.seconds_left),
                    "" if trial.value is None else f"{trial.value:.4f}",
                    trial.device or "",
                    trial.configuration,
                )
                for trial in study.trials
            ]
            parts.append(fit_table("", COLUMNS, rows, width, text="configuration"))
    if not studies:
        parts.append(Text("nothing runs now; harness studies lists all studies"))
    parts += [
        Text(
            f"GPU {gpu.index} {gpu.name}: {gpu.load_percent} %, {gpu.used_mb} of {gpu.total_mb} MB"
        )
        for gpu in gpus
    ]
    return Group(*parts)


def _headline(study: StudyProgress) -> str:
    if study.problem is not None:
        return f"study {study.name} · cannot be read: {study.problem}"
    n_done = str(study.trials_done)
    fields = [
        f"study {study.name}",
        f"{n_done if study.trials_asked is None else f'{n_done} of {study.trials_asked}'} trials",
    ]
    if study.best is not None:
        fields.append(f"best {study.metric} {study.best:.4f}")
    if study.trials and study.seconds_left:
        fields.append(f"about {format_duration(study.seconds_left)} left")
    if not study.trials:
        fields.append("no trial trains now")
    if study.memory_bytes:
        fields.append(f"memory {format_bytes(study.memory_bytes)}")
    return " · ".join(fields)
