"""From a configuration and a data set to a learning-rate range test; nothing is written here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from harness import strict_yaml
from harness.config import StudyConfig, TrialConfig
from harness.data.cache import ImageCache, open_cache
from harness.data.sources import find_data, source_folder
from harness.errors import ConfigError, UserError
from harness.models.weights import ensure_weights
from harness.parts_files import load_packages
from harness.paths import StudyPaths, TrialPaths, Workspace
from harness.preflight.verdicts import check_table
from harness.search.checks import (
    check_augments,
    check_losses,
    check_networks,
    legal_names,
    wanted_weights,
)
from harness.search.definition import Definition, loss_of_task
from harness.search.earlier import check_begun_or_written
from harness.search.fixed_values import FixedValues
from harness.search.images import take_split
from harness.search.parts import take_parts
from harness.search.progress import Progress
from harness.space.schema import Space
from harness.training.device import describe, pick_device, pick_precision
from harness.training.errors import is_out_of_memory
from harness.training.lr_find import Curve, Suggestion, paste_lines, suggest, sweep
from harness.training.setup import Setup, prepare
from harness.wording import count

LEAST_STEPS, MOST_STEPS = 20, 100_000
HIGHEST = 10.0


@dataclass(frozen=True)
class RatesRequest:
    """What the user asked for."""

    workspace: Workspace
    study: str | None = None
    data: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    low: float = 1e-6
    high: float = 10.0
    steps: int = 100
    seed: int = 0
    skip_bad: bool = False
    parts: Path | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Found:
    """What came of it, in plain numbers.

    Attributes:
        points: step (from 1), rate of all but the encoder, loss, smoothed loss.
        marks: suggested rates by what they are; empty where the loss never fell.
        lines: for `parameters:` of a space.
        facts: what was tested, and what is suggested, in sentences.
        settings: the trial configuration, nested.
    """

    points: list[tuple[int, float, float, float]]
    marks: dict[str, float]
    lines: tuple[str, ...]
    diverged: bool
    facts: tuple[str, ...]
    settings: dict[str, Any]


def find_rates(request: RatesRequest, progress: Progress) -> Found:
    """Check everything, prepare the images, run the test.

    Raises:
        UserError: something must be changed first.
    """
    _check_range(request)
    _load_parts(request, progress)
    paths, definition = _definition(request)
    config = definition.trial_config({})
    device = pick_device(request.device)
    table = check_networks(definition, None)
    check_table(table)
    networks = wanted_weights(table)
    check_losses(definition)
    setup = _prepare(request, paths, definition, device, progress, networks)
    done = progress.bar(f"training {count(request.steps, 'step')} on {describe(device)}")
    try:
        curve = sweep(
            setup.trainer,
            config.optim,
            low=request.low,
            high=request.high,
            n_steps=request.steps,
            on_step=lambda n: done(n, request.steps),
        )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"train.batch_size: a batch of {config.train.batch_size} does not fit into the memory "
            f"of {describe(device)}; lower it, or data.image_size"
        ) from None
    done(request.steps, request.steps)
    return _found(config, curve, suggest(curve))


def _check_range(request: RatesRequest) -> None:
    problems = []
    if not 0 < request.low < request.high <= HIGHEST:
        problems.append(
            f"--low {request.low:g} --high {request.high:g}: must rise, above 0 and up to "
            f"{HIGHEST:g}, e.g. --low 1e-6 --high 1"
        )
    if not LEAST_STEPS <= request.steps <= MOST_STEPS:
        problems.append(f"--steps {request.steps}: must be {LEAST_STEPS} to {MOST_STEPS:,}")
    if not 0 <= request.seed < 2**32:
        problems.append(f"--seed {request.seed}: must be 0 to {2**32 - 1}")
    if problems:
        raise ConfigError(problems)


def _load_parts(request: RatesRequest, progress: Progress) -> None:
    """Networks and losses of packages, and of the study's file or the one that was asked for."""
    for problem in load_packages():
        progress.stage(problem)
    workspace = request.workspace
    named = workspace.study(request.study) if request.study else StudyPaths(workspace.root)
    take_parts(named, request.parts)


def _definition(request: RatesRequest) -> tuple[StudyPaths, Definition]:
    """The study that is named, else one of nothing but the data; `--set` over its fixed values."""
    legal = legal_names()
    stored: dict[str, Any] = {}
    paths = StudyPaths(request.workspace.root)
    place = "study.yaml"
    if request.study is not None:
        paths = request.workspace.study(request.study)
        place, stored = str(paths.study_yaml), _stored(paths)
    data = dict(stored.get("data") or {})
    if request.data is not None:
        data["root"] = request.data
    beside = paths if request.study is not None else StudyPaths(request.workspace.studies / ".none")
    own = stored.get("fixed") or {}
    values = FixedValues.take(own, request.fixed, paths, legal, beside=beside)
    laid = values.over(Space(), legal)
    fixed = loss_of_task({"data": data}, laid) | dict(laid.fixed)
    config = StudyConfig.from_mapping(stored | {"data": data, "fixed": fixed}, place=place)
    begun = config.id is not None and paths.split_csv.exists()
    return paths, Definition(config, Space(), begun=begun)


def _stored(paths: StudyPaths) -> dict[str, Any]:
    check_begun_or_written(paths)
    place = str(paths.study_yaml)
    value = strict_yaml.load(paths.study_yaml.read_text(encoding="utf-8"), place=place).value
    if not isinstance(value, dict) or not isinstance(value.get("fixed") or {}, dict):
        raise ConfigError(f"{place}: must be a mapping, and `fixed` in it another")
    StudyConfig.from_mapping(value | {"fixed": {}}, place=place)
    return value


def _prepare(
    request: RatesRequest,
    paths: StudyPaths,
    definition: Definition,
    device: torch.device,
    progress: Progress,
    networks: list[Any],
) -> Setup:
    """Network, optimiser and training images, as a trial has them."""
    workspace, config = request.workspace, _as_tested(definition.trial_config({}))
    augments = check_augments(definition, workspace, paths)
    precision = pick_precision(config.train.precision, device)
    source = find_data(definition.config.data.root, workspace)
    progress.stage(f"data {source} · device {describe(device)}, {precision}")
    split = take_split(workspace, paths, definition, source, progress, skip_bad=request.skip_bad)
    ensure_weights(networks)
    images: ImageCache = open_cache(
        source_folder(source),
        split,
        definition.config.data,
        size=config.data.height_width,
        fit=config.data.fit,
        folder=workspace.cache,
        max_pixels=definition.config.limits.max_pixels,
        starts=lambda n: progress.bar(f"decoding the images ({n / 1e6:,.0f} MB)"),
    )
    seed = request.seed if config.train.seed is None else config.train.seed
    return prepare(
        config,
        images,
        {row.row: row.image for row in split},
        TrialPaths(paths.root),
        seed=seed,
        device=device,
        precision=precision,
        pretrained=True,
        augments=augments[0].parent if augments else None,
    )


def _as_tested(config: TrialConfig) -> TrialConfig:
    """The encoder learns from the first step, or, if it never does in the training, never."""
    train = config.train
    never = train.freeze_encoder_epochs >= train.epochs
    changes = {"freeze_encoder_epochs": MOST_STEPS if never else 0, "compile": False}
    return config.model_copy(update={"train": train.model_copy(update=changes)})


def _found(config: TrialConfig, curve: Curve, suggestion: Suggestion | None) -> Found:
    rows = zip(curve.rates, curve.losses, curve.smoothed, strict=True)
    points = [(n, *row) for n, row in enumerate(rows, start=1)]
    tested = (
        f"{config.model.arch} {config.model.encoder_name} under {config.optim.name}, "
        f"batch size {config.train.batch_size}, {count(len(points), 'step')}; "
        + ("the loss diverged" if curve.diverged else "the loss did not diverge")
    )
    if suggestion is None:
        fact = "the loss never fell: no suggestion; try other bounds, more steps, or the loss alone"
        return Found(points, {}, (), curve.diverged, (tested, fact), config.model_dump(mode="json"))
    lines = tuple(paste_lines(config.optim, suggestion))
    marks = {
        "steepest fall": suggestion.steepest,
        "a tenth of the lowest": suggestion.tenth,
        "lowest loss": suggestion.lowest,
    }
    fact = " · ".join(f"{name} {rate:.1e}" for name, rate in marks.items())
    facts = (tested, fact, *lines)
    return Found(points, marks, lines, curve.diverged, facts, config.model_dump(mode="json"))
