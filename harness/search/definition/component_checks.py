"""Checks of losses and values before the first trial, without torch."""

import time
from collections.abc import Callable
from typing import Any

from harness.config.loss import loss_names
from harness.config.progress import ProgressReporter
from harness.config.study import TrialConfig
from harness.core.text import count
from harness.search.definition.definition import StudyDefinition
from harness.space.space import Categorical
from harness.training.loss.task_checks import check_loss_for_task, check_objective_for_task

PreflightCallback = Callable[[int, int | None], None]  # (done, total)
BAR_DELAY_S = 2.0  # a shorter build shows no bar


def delayed_bar(progress: ProgressReporter) -> PreflightCallback:
    """Progress bar for building networks, shown only if it takes more than BAR_DELAY_S."""
    start_s, bars = time.monotonic(), list[PreflightCallback]()

    def report(n_done: int, total: int | None) -> None:
        if not bars and time.monotonic() - start_s > BAR_DELAY_S:
            networks = "networks" if total is None else count(total, "network")
            bars.append(progress.bar(f"building {networks}, without memory"))
        for bar in bars:
            bar(n_done, total)

    return report


def check_losses(definition: StudyDefinition) -> None:
    """Check that all parts of the loss and the objective fit the task.

    A setting such as class weights acts with some samples only, so each of its values is checked
    together with the largest weight of every searched loss.

    Raises:
        ConfigError: a loss, one of its settings or the objective does not fit the task.
    """
    data, space = definition.config.data, definition.space
    check_objective_for_task(definition.config.objective, data)
    fixed_losses = {key: value for key, value in space.constants.items() if key.startswith("loss.")}
    searched = [key for key in space.by_key if key.startswith("loss.")]
    weights = [key for key in searched if key.removeprefix("loss.") in loss_names()]
    # A weight of 0 switches its loss off and would hide that the loss does not fit the task.
    largest = {key: max(possible_values(definition, key)) for key in weights}
    others = [key for key in searched if key not in largest]
    # One setting at a time: the settings of losses are checked independently of each other.
    for values in [
        {key: value} for key in others for value in possible_values(definition, key)
    ] or [{}]:
        check_loss_for_task(TrialConfig.from_flat(fixed_losses | largest | values).loss, data)


def draws_tiles(definition: StudyDefinition) -> bool:
    """True if a trial may use tiles."""
    return any(size is not None for size in possible_values(definition, "data.tile.size"))


def possible_values(definition: StudyDefinition, key: str) -> list[Any]:
    """Values that a key can take in this study; of a numeric range its two ends."""
    listed = [row[key] for row in definition.space.rows if key in row]
    if listed:
        return [value for i, value in enumerate(listed) if value not in listed[:i]]
    for parameter in definition.space.parameters:
        if parameter.key == key:
            if isinstance(parameter, Categorical):
                return list(parameter.choices)
            # A set, as both ends may be equal.
            return sorted({parameter.low, parameter.high})
    return [definition.space.constants[key]]
