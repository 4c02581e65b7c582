"""Metrics of the user's own, computed for each validation image and class."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.config import ObjectiveConfig
from harness.data_config import VOID, StudyDataConfig
from harness.errors import ConfigError
from harness.parts import Part, registered
from harness.training.calling import call_part

_Scalar = TypeVar("_Scalar", bound=np.generic)


def metrics_of_study(data: StudyDataConfig, objective: ObjectiveConfig) -> tuple[Part, ...]:
    """The metrics that are computed: those of the study's file that this task has.

    Those of packages only where one is the objective.
    """
    return tuple(
        part
        for part in registered("metric").values()
        if data.task in part.tasks and (part.of_file or f"val/{part.name}" == objective.metric)
    )


def measure(
    metrics: Sequence[Part],
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
            stored = truths[n, ..., index] if data.task == "multilabel" else truths[n]
            truth = _read_only(stored == (1 if data.task == "multilabel" else index))
            valid = _read_only(stored != VOID)
            at = f"image {name}, class {data.classes[index]}"
            yield [_value(part, probability, truth, valid, at) for part in metrics]


def _read_only(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """A view that refuses to be written, so that no metric changes what the next one sees."""
    view = array.view()
    view.setflags(write=False)
    return view


def _value(
    part: Part,
    probability: NDArray[np.float32],
    truth: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    at: str,
) -> float:
    value: Any = call_part(part, probability=probability, truth=truth, valid=valid)
    if value is None:
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(
            f"{part.origin}: metric {part.name!r} gave {value!r} for {at}; it must give a finite "
            "number, or None where the image does not count"
        )
    return number
