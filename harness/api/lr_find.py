"""Learning-rate range test: `harness.find_lr` and its result."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.api.notebook_progress import default_progress
from harness.config.progress import ProgressReporter
from harness.core.errors import ConfigError
from harness.core.timestamps import utc_timestamp
from harness.report.figures.lr_test import POINT_COLUMNS, write_lr_test
from harness.search.definition.options import RunOptions


@dataclass(frozen=True)
class LearningRates:
    """Result of a learning-rate range test.

    Attributes:
        points: columns step, lr, loss and smoothed; lr is the rate of all parameters outside the
            encoder.
        steepest: the rate at which the loss fell fastest; None if the loss never fell.
        lowest: the rate at which the loss was lowest; a tenth of it is another usual choice.
        lines: lines for `parameters:` of a space.
        diverged: True if the loss grew out of bounds before the highest rate.
        page: curve.html, which needs no other file.
    """

    points: pd.DataFrame
    steepest: float | None
    lowest: float | None
    lines: tuple[str, ...]
    diverged: bool
    page: Path


def find_lr(
    *,
    data: str | Path | None = None,
    fixed: Mapping[str, Any] | None = None,
    study: str | None = None,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    seed: int = 0,
    name: str | None = None,
    skip_bad: bool = False,
    parts: str | Path | None = None,
    device: str = "auto",
    workspace: str | Path = ".",
    progress: ProgressReporter | None = None,
) -> LearningRates:
    """Train one configuration while the learning rate rises, and find the useful rates.

    Writes curve.html, points.csv and config.yaml to `lr-find/<name>/` in the workspace.

    Args:
        data: as in `run_study`; None: the data of the study, else kvasir-seg.
        fixed: the configuration by full key; an absent key has the study's value, else its default.
        study: name of a study whose data, split and fixed values are used.
        low, high: first and last rate outside the encoder; the encoder's rate keeps its ratio.
        steps: number of training steps between them.
        seed: seed of weights, order and augmentation; `train.seed` overrides it.
        name: name of the folder; None: the time.
        parts: a Python file of networks and losses; None: the file of the study.

    Raises:
        UserError: the user must change something first; nothing was written.

    Example:
        rates = harness.find_lr(data="synthetic", fixed={"model.arch": "Linknet"})
    """
    options = RunOptions.from_arguments(
        {
            "study": study,
            "data": data,
            "fixed": fixed,
            "skip_bad": skip_bad,
            "parts": parts,
            "device": device,
            "workspace": workspace,
        }
    )
    # An existing folder is refused before torch is imported, which takes seconds.
    paths = options.stores.workspace.lr_find(name or utc_timestamp("unique"))
    if paths.root.exists():
        raise ConfigError(f"--name {name}: {paths.root} exists already; choose another name")
    from harness.search.definition.lr_find import (  # noqa: PLC0415  # imports torch
        RangeTestSettings,
        find_learning_rates,
    )

    settings = RangeTestSettings(low, high, steps, seed)
    result = find_learning_rates(options, settings, progress or default_progress())
    # Written only now: a test that fails leaves no folder, and its name can be used again.
    write_lr_test(paths, result.points, result.marks, result.facts, result.settings)
    return LearningRates(
        points=pd.DataFrame(result.points, columns=list(POINT_COLUMNS)),
        steepest=result.marks.get("steepest fall"),
        lowest=result.marks.get("lowest loss"),
        lines=result.lines,
        diverged=result.diverged,
        page=paths.page,
    )
