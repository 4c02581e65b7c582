"""Learning-rate range test of one configuration on one data set; nothing is written here.

Source: Smith 2017, "Cyclical learning rates for training neural networks", WACV.
"""

from dataclasses import dataclass
from typing import Any

import torch

from harness.config.progress import ProgressReporter
from harness.config.study import ModelConfig, StudyConfig, TrialConfig, needs_native_images
from harness.config.study_files import require_study_yaml
from harness.core import strict_yaml
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths, TrialPaths
from harness.core.text import count
from harness.data.datasets.sources import open_source
from harness.data.loading.image_cache import ImageCache, open_cache
from harness.data.windows.native_store import open_store
from harness.models.weights import ensure_weights
from harness.preflight.network_table import check_network_table
from harness.search.definition.augment_checks import check_augments
from harness.search.definition.component_checks import check_losses
from harness.search.definition.context import StudyContext, open_context
from harness.search.definition.data_setup import load_or_make_split
from harness.search.definition.definition import StudyDefinition, default_loss_weights
from harness.search.definition.fixed_values import FixedValues
from harness.search.definition.network_checks import (
    check_networks,
    legal_names,
    pretrained_models,
)
from harness.search.definition.options import RunOptions
from harness.search.definition.scoring_size import resolve_metrics_size
from harness.space.space import SearchSpace
from harness.training.hardware.device import describe_device, pick_precision
from harness.training.loop.errors import is_out_of_memory
from harness.training.loop.setup import TrainingInputs, TrainingSetup, prepare_training
from harness.training.optim.lr_range_test import (
    RangeTestCurve,
    RateSuggestion,
    format_space_lines,
    suggest_rates,
    sweep_learning_rates,
)

MIN_STEPS, MAX_STEPS = 20, 100_000  # fewer points than 20 make no curve to read a rate from
MAX_RATE = 10.0


@dataclass(frozen=True)
class RangeTestSettings:
    """Bounds and length of a learning-rate range test.

    Attributes:
        low: first rate of all parameters outside the encoder, whose own rate keeps its ratio.
        high: last rate.
        steps: number of training steps between them.
        seed: of weights, order and augmentation; `train.seed` overrides it.
    """

    low: float = 1e-6
    high: float = 10.0
    steps: int = 100
    seed: int = 0


@dataclass(frozen=True)
class RangeTestResult:
    """Curve and suggested rates of a range test.

    Attributes:
        points: step (from 1), rate outside the encoder, loss, smoothed loss.
        marks: suggested rates by name; empty if the loss never fell.
        lines: lines for `parameters:` of a space.
        diverged: True if the loss grew out of bounds before the highest rate.
        facts: sentences on the tested configuration and the suggestion.
        settings: the trial configuration, nested.
    """

    points: list[tuple[int, float, float, float]]
    marks: dict[str, float]
    lines: tuple[str, ...]
    diverged: bool
    facts: tuple[str, ...]
    settings: dict[str, Any]


def find_learning_rates(
    options: RunOptions, settings: RangeTestSettings, progress: ProgressReporter
) -> RangeTestResult:
    """Check everything, prepare the images, run the test.

    Raises:
        UserError: the user must change something first.
    """
    _check_range(settings)
    paths = _study_paths(options)
    context = open_context(options, paths, progress, lambda: _resolve_definition(options, paths))
    definition, device = context.definition, context.device
    # None: the number of training images is not known before the images are read.
    table = check_networks(definition, None)
    check_network_table(table)
    check_losses(definition)
    setup = _prepare_training(context, settings.seed, pretrained_models(table), progress)
    config = definition.trial_config({})
    curve = _sweep(setup, settings, config, device, progress)
    return _make_result(config, curve, suggest_rates(curve))


def _sweep(
    setup: TrainingSetup,
    settings: RangeTestSettings,
    config: TrialConfig,
    device: torch.device,
    progress: ProgressReporter,
) -> RangeTestCurve:
    on_progress = progress.bar(
        f"training {count(settings.steps, 'step')} on {describe_device(device)}"
    )
    try:
        curve = sweep_learning_rates(
            setup.trainer,
            config.optim,
            low=settings.low,
            high=settings.high,
            n_steps=settings.steps,
            on_step=lambda n: on_progress(n, settings.steps),
        )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        # Not halved as in a trial: the useful rates of another batch size are other rates.
        raise UserError(
            f"train.batch_size: a batch of {config.train.batch_size} does not fit into the memory "
            f"of {describe_device(device)}; lower it, or data.image_size"
        ) from None
    on_progress(settings.steps, settings.steps)
    return curve


def _check_range(settings: RangeTestSettings) -> None:
    problems = []
    if not 0 < settings.low < settings.high <= MAX_RATE:
        problems.append(
            f"--low {settings.low:g} --high {settings.high:g}: low must be above 0 and below high, "
            f"and high at most {MAX_RATE:g}, e.g. --low 1e-6 --high 1"
        )
    if not MIN_STEPS <= settings.steps <= MAX_STEPS:
        problems.append(f"--steps {settings.steps}: must be {MIN_STEPS} to {MAX_STEPS:,}")
    if not 0 <= settings.seed < 2**32:
        problems.append(f"--seed {settings.seed}: must be 0 to {2**32 - 1}")
    if problems:
        raise ConfigError(problems)


def _study_paths(options: RunOptions) -> StudyPaths:
    """The folder of `--study`; without it the workspace, which holds no study.yaml."""
    workspace, name = options.stores.workspace, options.search.study
    return StudyPaths(workspace.root) if name is None else workspace.study(name)


def _resolve_definition(options: RunOptions, paths: StudyPaths) -> StudyDefinition:
    """The definition of the study, or of the data alone; `--set` overrides its fixed values.

    Unlike `resolve_definition`, values of a started study may be overridden: nothing is recorded.
    """
    legal, search = legal_names(), options.search
    stored: dict[str, Any] = {}
    location = "study.yaml"
    # `{from: encoders}` looks next to the study's folder; without a study, in studies/ as well.
    search_from = StudyPaths(options.stores.workspace.studies / ".none")
    if search.study is not None:
        location, search_from, stored = str(paths.study_yaml), paths, _read_study_yaml(paths)
    # A copy: --data must not change what `stored` holds of study.yaml.
    data = dict(stored.get("data") or {})
    if search.data is not None:
        data["root"] = search.data
    own = stored.get("fixed") or {}
    values = FixedValues.resolve(own, search.fixed, paths, legal, search_from=search_from)
    fixed_space = values.apply_to(SearchSpace(), legal)
    fixed = default_loss_weights({"data": data}, fixed_space) | dict(fixed_space.fixed)
    config = StudyConfig.from_mapping(stored | {"data": data, "fixed": fixed}, source=location)
    is_started = config.id is not None and paths.split_csv.exists()
    return StudyDefinition(config, SearchSpace(), is_started=is_started)


def _read_study_yaml(paths: StudyPaths) -> dict[str, Any]:
    require_study_yaml(paths)
    location = str(paths.study_yaml)
    value = strict_yaml.load_yaml(
        paths.study_yaml.read_text(encoding="utf-8"), source=location
    ).value
    if not isinstance(value, dict) or not isinstance(value.get("fixed") or {}, dict):
        raise ConfigError(f"{location}: must be a mapping, and `fixed` in it a mapping too")
    StudyConfig.from_mapping(value | {"fixed": {}}, source=location)
    return value


def _prepare_training(
    context: StudyContext, seed: int, networks: list[ModelConfig], progress: ProgressReporter
) -> TrainingSetup:
    """Prepare network, optimiser and training images as for a trial."""
    definition, workspace, device = context.definition, context.workspace, context.device
    config = _range_test_config(definition.trial_config({}))
    augments = check_augments(definition, workspace, context.paths)
    precision = pick_precision(config.train.precision, device)
    progress.stage(f"data {context.source} · device {describe_device(device)}, {precision}")
    split = load_or_make_split(
        workspace,
        context.paths,
        definition,
        context.source,
        progress,
        skip_bad=context.options.search.skip_bad,
    )
    data = resolve_metrics_size(definition, context.data_root, split).config.data
    ensure_weights(networks)
    images: ImageCache = open_cache(
        open_source(context.data_root),
        split,
        data,
        size=config.data.height_width,
        fit=config.data.whole_fit,
        folder=workspace.cache,
        max_pixels=context.config.limits.max_pixels,
        on_build_start=lambda n: progress.bar(f"decoding the images ({n / 1e6:,.0f} MB)"),
    )
    windows = None
    if needs_native_images(config, data):
        windows = open_store(
            open_source(context.data_root),
            split,
            data,
            folder=workspace.cache,
            max_pixels=context.config.limits.max_pixels,
        )
    return prepare_training(
        TrainingInputs(
            config,
            images,
            {row.row: row.image for row in split},
            TrialPaths(context.paths.root),
            seed=seed if config.train.seed is None else config.train.seed,
            device=device,
            precision=precision,
            augments=augments[0].parent if augments else None,
            windows=windows,
        ),
        pretrained=True,
    )


def _range_test_config(config: TrialConfig) -> TrialConfig:
    """The configuration without compilation, and without a change of frozen layers on the way.

    Schedules count epochs, and a range test has none: an encoder that training unfreezes after some
    epochs learns from the first step; one that stays frozen to the end is frozen here, too.
    """
    train = config.train
    never = train.freeze_encoder_epochs >= train.epochs
    # Compilation would take longer than the test itself.
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
    settings = config.model_dump(mode="json")
    if suggestion is None:
        outcome = "the loss never fell, so no rate is suggested; try other bounds or more steps"
        return RangeTestResult(points, {}, (), curve.diverged, (description, outcome), settings)
    lines = tuple(format_space_lines(config.optim, suggestion))
    marks = {
        "steepest fall": suggestion.steepest,
        "a tenth of the lowest": suggestion.tenth,
        "lowest loss": suggestion.lowest,
    }
    outcome = " · ".join(f"{name} {rate:.1e}" for name, rate in marks.items())
    facts = (description, outcome, *lines)
    return RangeTestResult(points, marks, lines, curve.diverged, facts, settings)
