"""What a task has no use for, said before trial 0. No torch here."""

from harness.config import LossConfig, ObjectiveConfig
from harness.data_config import StudyDataConfig
from harness.errors import ConfigError


def check_loss(config: LossConfig, data: StudyDataConfig) -> None:
    """Whether every part of a loss can act in this task.

    Raises:
        ConfigError: all that cannot, one line each.
    """
    problems = [] if config.class_weights is None else _weight_problems(config, data)
    if data.task == "multiclass" and config.bce > 0:
        problems.append("loss.bce: acts in two-class and multilabel tasks; use loss.ce")
    if data.task != "multiclass" and config.ce > 0:
        problems.append("loss.ce: acts in multiclass tasks; use loss.bce")
    if problems:
        raise ConfigError(problems)


def check_objective(config: ObjectiveConfig, data: StudyDataConfig) -> None:
    """Whether this task has the objective metric. Raises ConfigError if not."""
    if config.metric == "val/miou" and data.task != "multiclass":
        raise ConfigError("objective.metric: val/miou is of multiclass tasks; use val/iou_micro")


def may_be_void(data: StudyDataConfig) -> bool:
    """Whether masks may hold VOID: those of multiclass tasks do where they were padded."""
    return data.has_void or data.task == "multiclass"


def _weight_problems(config: LossConfig, data: StudyDataConfig) -> list[str]:
    if data.task == "binary":
        return ["loss.class_weights: act in multiclass and multilabel tasks; set null"]
    problems = []
    n, wanted = len(config.class_weights or ()), len(data.classes)
    if n != wanted:
        problems.append(
            f"loss.class_weights: {n} for {wanted} classes; give one for each of "
            f"{', '.join(data.classes)}"
        )
    pixels = ("ce", "focal") if data.task == "multiclass" else ("bce", "focal")
    if not any(getattr(config, part) > 0 for part in pixels):
        first, second = (f"loss.{part}" for part in pixels)
        problems.append(
            f"loss.class_weights: act in {first} and {second}, both 0; set one above 0, or null"
        )
    return problems
