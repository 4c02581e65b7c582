"""From a configuration and a data set to a learning-rate range test; nothing is written here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from harness.config.progress import ProgressReporter
from harness.config.study import StudyConfig, TrialConfig
from harness.config.study_files import require_study_yaml
from harness.config.user_code import register_packages
from harness.core import strict_yaml
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths, TrialPaths, Workspace
from harness.core.plurals import count
from harness.data.datasets.sources import find_data, source_folder
from harness.data.loading.image_cache import ImageCache, open_cache
from harness.models.weights import ensure_weights
from harness.preflight.network_table import check_network_table
from harness.search.definition.component_checks import (
    check_augments,
    check_losses,
    check_networks,
    legal_names,
    pretrained_models,
)
from harness.search.definition.data_setup import load_or_make_split
from harness.search.definition.definition import StudyDefinition, default_loss_weights
from harness.search.definition.fixed_values import FixedValues
from harness.search.definition.user_code import load_study_parts
from harness.space.space import SearchSpace
from harness.training.hardware.device import describe_device, pick_device, pick_precision
from harness.training.loop.errors import is_out_of_memory
from harness.training.loop.setup import TrainingInputs, TrainingSetup, prepare_training
from harness.training.optim.lr_range_test import (
    RangeTestCurve,
    RateSuggestion,
    format_space_lines,
    suggest_rates,
    sweep_learning_rates,
)

MIN_STEPS, MAX_STEPS = 20, 100_000
MAX_RATE = 10.0


@dataclass(frozen=True)
class RangeTestRequest:
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
class RangeTestResult:
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


def find_learning_rates(request: RangeTestRequest, progress: ProgressReporter) -> RangeTestResult:
    """Check everything, prepare the images, run the test.

    Raises:
        UserError: something must be changed first.
    """
    _check_range(request)
    _load_parts(request, progress)
    paths, definition = _resolve_definition(request)
    config = definition.trial_config({})
    device = pick_device(request.device)
    table = check_networks(definition, None)
    check_network_table(table)
    networks = pretrained_models(table)
    check_losses(definition)
    setup = _prepare_training(request, paths, definition, device, progress, networks)
    on_progress = progress.bar(
        f"training {count(request.steps, 'step')} on {describe_device(device)}"
    )
    try:
        curve = sweep_learning_rates(
            setup.trainer,
            config.optim,
            low=request.low,
            high=request.high,
            n_steps=request.steps,
            on_step=lambda n: on_progress(n, request.steps),
        )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"train.batch_size: a batch of {config.train.batch_size} does not fit into the memory "
            f"of {describe_device(device)}; lower it, or data.image_size"
        ) from None
    on_progress(request.steps, request.steps)
    return _make_result(config, curve, suggest_rates(curve))


def _check_range(request: RangeTestRequest) -> None:
    problems = []
    if not 0 < request.low < request.high <= MAX_RATE:
        problems.append(
            f"--low {request.low:g} --high {request.high:g}: must rise, above 0 and up to "
            f"{MAX_RATE:g}, e.g. --low 1e-6 --high 1"
        )
    if not MIN_STEPS <= request.steps <= MAX_STEPS:
        problems.append(f"--steps {request.steps}: must be {MIN_STEPS} to {MAX_STEPS:,}")
    if not 0 <= request.seed < 2**32:
        problems.append(f"--seed {request.seed}: must be 0 to {2**32 - 1}")
    if problems:
        raise ConfigError(problems)


def _load_parts(request: RangeTestRequest, progress: ProgressReporter) -> None:
    """Networks and losses of packages, and of the study's file or the one that was asked for."""
    for problem in register_packages():
        progress.stage(problem)
    workspace = request.workspace
    named = workspace.study(request.study) if request.study else StudyPaths(workspace.root)
    load_study_parts(named, request.parts)


def _resolve_definition(request: RangeTestRequest) -> tuple[StudyPaths, StudyDefinition]:
    """The study that is named, else one of nothing but the data; `--set` over its fixed values."""
    legal = legal_names()
    stored: dict[str, Any] = {}
    paths = StudyPaths(request.workspace.root)
    location = "study.yaml"
    if request.study is not None:
        paths = request.workspace.study(request.study)
        location, stored = str(paths.study_yaml), _read_study_yaml(paths)
    data = dict(stored.get("data") or {})
    if request.data is not None:
        data["root"] = request.data
    search_from = (
        paths if request.study is not None else StudyPaths(request.workspace.studies / ".none")
    )
    own = stored.get("fixed") or {}
    values = FixedValues.resolve(own, request.fixed, paths, legal, search_from=search_from)
    fixed_space = values.apply_to(SearchSpace(), legal)
    fixed = default_loss_weights({"data": data}, fixed_space) | dict(fixed_space.fixed)
    config = StudyConfig.from_mapping(stored | {"data": data, "fixed": fixed}, source=location)
    is_started = config.id is not None and paths.split_csv.exists()
    return paths, StudyDefinition(config, SearchSpace(), is_started=is_started)


def _read_study_yaml(paths: StudyPaths) -> dict[str, Any]:
    require_study_yaml(paths)
    location = str(paths.study_yaml)
    value = strict_yaml.load_yaml(
        paths.study_yaml.read_text(encoding="utf-8"), source=location
    ).value
    if not isinstance(value, dict) or not isinstance(value.get("fixed") or {}, dict):
        raise ConfigError(f"{location}: must be a mapping, and `fixed` in it another")
    StudyConfig.from_mapping(value | {"fixed": {}}, source=location)
    return value


def _prepare_training(
    request: RangeTestRequest,
    paths: StudyPaths,
    definition: StudyDefinition,
    device: torch.device,
    progress: ProgressReporter,
    networks: list[Any],
) -> TrainingSetup:
    """Network, optimiser and training images, as a trial has them."""
    workspace, config = request.workspace, _range_test_config(definition.trial_config({}))
    augments = check_augments(definition, workspace, paths)
    precision = pick_precision(config.train.precision, device)
    source = find_data(definition.config.data.root, workspace)
    progress.stage(f"data {source} · device {describe_device(device)}, {precision}")
    split = load_or_make_split(
        workspace, paths, definition, source, progress, skip_bad=request.skip_bad
    )
    ensure_weights(networks)
    images: ImageCache = open_cache(
        source_folder(source),
        split,
        definition.config.data,
        size=config.data.height_width,
        fit=config.data.fit,
        folder=workspace.cache,
        max_pixels=definition.config.limits.max_pixels,
        on_build_start=lambda n: progress.bar(f"decoding the images ({n / 1e6:,.0f} MB)"),
    )
    seed = request.seed if config.train.seed is None else config.train.seed
    return prepare_training(
        TrainingInputs(
            config,
            images,
            {row.row: row.image for row in split},
            TrialPaths(paths.root),
            seed=seed,
            device=device,
            precision=precision,
            augments=augments[0].parent if augments else None,
        ),
        pretrained=True,
    )


def _range_test_config(config: TrialConfig) -> TrialConfig:
    """The encoder learns from the first step, or, if it never does in the training, never."""
    train = config.train
    never = train.freeze_encoder_epochs >= train.epochs
    changes = {"freeze_encoder_epochs": MAX_STEPS if never else 0, "compile": False}
    return config.model_copy(update={"train": train.model_copy(update=changes)})


def _make_result(
    config: TrialConfig, curve: RangeTestCurve, suggestion: RateSuggestion | None
) -> RangeTestResult:
    rows = zip(curve.rates, curve.losses, curve.smoothed, strict=True)
    points = [(n, *row) for n, row in enumerate(rows, start=1)]
    description = (
        f"{config.model.arch} {config.model.encoder_name} under {config.optim.name}, "
        f"batch size {config.train.batch_size}, {count(len(points), 'step')}; "
        + ("the loss diverged" if curve.diverged else "the loss did not diverge")
    )
    if suggestion is None:
        outcome = (
            "the loss never fell: no suggestion; try other bounds, more steps, or the loss alone"
        )
        return RangeTestResult(
            points, {}, (), curve.diverged, (description, outcome), config.model_dump(mode="json")
        )
    lines = tuple(format_space_lines(config.optim, suggestion))
    marks = {
        "steepest fall": suggestion.steepest,
        "a tenth of the lowest": suggestion.tenth,
        "lowest loss": suggestion.lowest,
    }
    outcome = " · ".join(f"{name} {rate:.1e}" for name, rate in marks.items())
    facts = (description, outcome, *lines)
    return RangeTestResult(
        points, marks, lines, curve.diverged, facts, config.model_dump(mode="json")
    )
