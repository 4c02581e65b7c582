"""`harness run`."""

import math
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import api
from harness.cli.display import open_progress
from harness.cli.options import ExperimentOption, ObjectiveOption, StorageOption, TrackingUriOption
from harness.config.study import PrunerConfig, SamplerConfig
from harness.core import strict_yaml
from harness.core.errors import ConfigError, suggest_nearest
from harness.core.paths import Workspace
from harness.core.settings import literal_values
from harness.data.datasets.known_datasets import NeedsDownloadError

FROM_PREFIX = "from:"
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_DURATION = re.compile("".join(f"(?:{_NUMBER}{unit})?" for unit in ("d", "h", "m", "s?")))
_UNITS_S = (86400, 3600, 60, 1)
EXAMPLE = "Example: harness run --space encoders.yaml --trials 40 --set train.epochs=10"


def run(
    space: Annotated[
        str | None, typer.Option(help="Space file: a path, or a name in search_spaces/.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study; else that of the space file.")
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Finished trials in all, earlier ones included; a CSV's rows, else 20.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Folder with images/ and masks/, kvasir-seg, or synthetic."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, or KEY=from:STUDY, for every trial; repeatable."),
    ] = None,
    from_: Annotated[
        list[str] | None,
        typer.Option("--from", help="Earlier study whose trials are imported; may be repeated."),
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="tpe, random, gp, qmc or grid.")] = None,
    pruner: Annotated[
        str | None,
        typer.Option(help="none, median, percentile, halving, hyperband, patient or curve."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the study.")] = None,
    objective: ObjectiveOption = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out pairs that cannot be used.")
    ] = False,
    parts: Annotated[
        Path | None,
        typer.Option(help="Python file with networks, losses or metrics of your own."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Column of a CSV space kept as a tag; may be repeated."),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="Column of a CSV space left out; may be repeated."),
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
    """Run a study, or continue it, until it has --trials finished trials.

    Example: harness run --space encoders.yaml --trials 40 --set train.epochs=10
    """
    _check_name("--sampler", sampler, literal_values(SamplerConfig, "name"))
    _check_name("--pruner", pruner, literal_values(PrunerConfig, "name"))
    fixed = parse_settings(set_ or [])
    timeout_s = None if timeout is None else parse_duration(timeout)
    progress = open_progress()

    def start() -> "api.Study":
        return api.run_study(
            study,
            space=space,
            data=data,
            trials=trials,
            fixed=fixed,
            import_from=from_ or (),
            sampler=sampler,
            pruner=pruner,
            seed=seed,
            objective=objective,
            skip_bad=skip_bad,
            parts=parts,
            label=label or (),
            ignore=ignore or (),
            device=device,
            gpus=gpus,
            per_gpu=per_gpu,
            workers=workers,
            timeout_s=timeout_s,
            storage=storage,
            tracking_uri=tracking_uri,
            experiment=experiment,
            workspace=workspace,
            progress=progress,
        )

    try:
        finished_study = start()
    except NeedsDownloadError as missing:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        from harness.cli.data import confirm_and_download  # noqa: PLC0415  # brings OpenCV

        confirm_and_download(missing.archive, Workspace.at(workspace))
        finished_study = start()
    finally:
        progress.close()
    best = finished_study.best
    if best is not None and best.value is not None:
        metric = finished_study.tables.config.objective.metric
        progress.stage(f"best {metric} {best.value:.4f}: trial {best.number}, not confirmed")
    progress.stage(f"next: harness report --study {finished_study.name}")


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """`["optim.lr=1e-3"]` → `{"optim.lr": 0.001}`; values are read as YAML.

    `model.arch=from:encoders` is short for `model.arch={from: encoders}`.

    Raises:
        ConfigError: every setting that is not KEY=VALUE, or whose value is no YAML.
    """
    parsed: dict[str, Any] = {}
    problems = []
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key and equals):
            problems.append(f"--set {setting}: must be KEY=VALUE, e.g. --set train.epochs=10")
            continue
        if value.strip().startswith(FROM_PREFIX):
            parsed[key.strip()] = {"from": value.strip().removeprefix(FROM_PREFIX).strip()}
            continue
        try:
            parsed[key.strip()] = strict_yaml.load_yaml(value, source=f"--set {key}").value
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return parsed


def parse_duration(text: str) -> float:
    """`90m`, `2h`, `1h30m`, `2d` or `3600` as seconds. Raises ConfigError for anything else."""
    match = _DURATION.fullmatch(text.strip().lower())
    parts = [float(part or 0) for part in match.groups()] if match else []
    seconds = sum(part * unit for part, unit in zip(parts, _UNITS_S, strict=False))
    if not 0 < seconds < math.inf:
        raise ConfigError(f"--timeout {text}: must be a time such as 8h, 90m, 1h30m or 3600 (s)")
    return seconds


def _check_name(option: str, value: str | None, allowed: tuple[Any, ...]) -> None:
    if value is not None and value not in allowed:
        raise ConfigError(f"{option} {value}: there is none{suggest_nearest(value, allowed)}")
