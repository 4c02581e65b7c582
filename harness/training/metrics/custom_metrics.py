"""Metrics of the user's own, computed for each validation image and class."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.config.component_interface import Component
from harness.config.components import get_components
from harness.config.data import IGNORE_INDEX, StudyDataConfig
from harness.config.study import ObjectiveConfig
from harness.core.errors import ConfigError
from harness.training.loss.user_code import call_component

_Scalar = TypeVar("_Scalar", bound=np.generic)


def study_metrics(data: StudyDataConfig, objective: ObjectiveConfig) -> tuple[Component, ...]:
    """The metrics that are computed: those of the study's file that this task has.

    Those of packages only where one is the objective.
    """
    return tuple(
        part
        for part in get_components("metric").values()
        if data.task in part.tasks and (part.is_from_file or f"val/{part.name}" == objective.metric)
    )


def compute_custom_metrics(
    metrics: Sequence[Component],
    p: NDArray[np.float32],
    truths: NDArray[np.uint8],
    data: StudyDataConfig,
    names: Sequence[str],
) -> Iterator[list[float]]:
    """The values of each metric for each image and scored class, in the order of scores.csv.

    Args:
        metrics: at least one.
        p: probabilities: (N, E, E) in two-class tasks, else (N, K, E, E).
        truths: (N, E, E), in multilabel tasks (N, E, E, K); may hold VOID.
        names: of the images.

    Returns:
        For each image and class one number per metric; NaN: the image does not count.

    Raises:
        ConfigError: a metric failed, also by writing into its arguments, or gave no finite number;
            with its name.
    """
    p = _read_only(p)  # on the CPU it shares memory with what is scored and kept
    for n, name in enumerate(names):
        for index in data.scored_classes:
            probability = p[n] if data.task == "binary" else p[n, index]
            truth_values = truths[n, ..., index] if data.task == "multilabel" else truths[n]
            truth = _read_only(truth_values == (1 if data.task == "multilabel" else index))
            valid = _read_only(truth_values != IGNORE_INDEX)
            image_and_class = f"image {name}, class {data.classes[index]}"
            yield [
                _compute_metric(part, probability, truth, valid, image_and_class)
                for part in metrics
            ]


def _read_only(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """A view that refuses to be written, so that no metric changes what the next one sees."""
    view = array.view()
    view.setflags(write=False)
    return view


def _compute_metric(
    part: Component,
    probability: NDArray[np.float32],
    truth: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    image_and_class: str,
) -> float:
    value: Any = call_component(part, probability=probability, truth=truth, valid=valid)
    if value is None:
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(
            f"{part.origin}: metric {part.name!r} gave {value!r} for {image_and_class}; it must "
            "give a finite "
            "number, or None where the image does not count"
        )
    return number
