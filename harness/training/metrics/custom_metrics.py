"""User-defined metrics, computed for each validation image and class."""

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
    """Select the user-defined metrics to compute: those of the study's file, for this task.

    A metric of an installed package is computed only if it is the objective: the package may be
    installed for another study.
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
    """Compute each metric for each image and scored class, in the order of scores.csv.

    Args:
        metrics: at least one.
        p: probabilities: (N, E, E) in two-class tasks, else (N, K, E, E).
        truths: (N, E, E), in multilabel tasks (N, E, E, K); may hold IGNORE_INDEX.
        names: names of the images, for errors.

    Returns:
        For each image and class one number per metric; NaN: the image does not count.

    Raises:
        ConfigError: a metric raised an exception, wrote to its arguments, or returned no finite
            number.
    """
    p = _read_only(p)  # on the CPU it shares memory with the tensor that is scored and saved
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
    """Make a read-only view, so that no metric changes the arguments of the next one."""
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
        # float() also accepts numpy scalars and tensors of one element, as metrics often return
        # them.
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(
            f"{part.origin}: metric {part.name!r} returned {value!r} for {image_and_class}; it "
            "must return a finite number, or None if the image does not count"
        )
    return number
