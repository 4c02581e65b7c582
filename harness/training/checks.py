"""What a task has no use for, said before trial 0. No torch here."""

from harness.config import LossConfig, ObjectiveConfig
from harness.data_config import StudyDataConfig
from harness.errors import ConfigError
from harness.loss_config import loss_setting, pixel_losses
from harness.parts import registered
from harness.wording import count


def check_loss(config: LossConfig, data: StudyDataConfig, *, one_draw: bool = False) -> None:
    """Whether every part of a loss can act in this task.

    Args:
        one_draw: of a study in which the weights are searched: class weights may be without effect
            beside these.

    Raises:
        ConfigError: all that cannot, one line each.
    """
    weighted = config.class_weights is not None
    problems = _weight_problems(config, data) if weighted else []
    if weighted and not one_draw:
        problems += _idle_weights(config, data)
    if data.task == "multiclass" and config.bce > 0:
        problems.append("loss.bce: acts in two-class and multilabel tasks; use loss.ce")
    for name in config.weights:
        found = loss_setting(name)
        if found is not None and data.task not in found[0].tasks:
            problems.append(f"loss.{name}: acts in {' and '.join(found[0].tasks)} tasks")
    if problems:
        raise ConfigError(problems)


def check_objective(config: ObjectiveConfig, data: StudyDataConfig) -> None:
    """Whether this task has the objective metric. Raises ConfigError if not."""
    part = registered("metric").get(config.metric.removeprefix("val/"))
    if not config.is_ours and part is not None and data.task not in part.tasks:
        tasks = " and ".join(part.tasks)
        raise ConfigError(f"objective.metric: {config.metric} is of {tasks} tasks")
    if config.metric == "val/miou" and data.task != "multiclass":
        raise ConfigError("objective.metric: val/miou is of multiclass tasks; use val/iou_micro")


def may_be_void(data: StudyDataConfig) -> bool:
    """Whether masks may hold VOID: those of multiclass tasks do where they were padded."""
    return data.has_void or data.task == "multiclass"


def _weight_problems(config: LossConfig, data: StudyDataConfig) -> list[str]:
    if data.task == "binary":
        return ["loss.class_weights: act in multiclass and multilabel tasks; set null"]
    n, wanted = len(config.class_weights or ()), len(data.classes)
    if n != wanted and config.class_weights != "balanced":
        return [
            f"loss.class_weights: {n} for {count(wanted, 'class')}; give one for each of "
            f"{', '.join(data.classes)}, or balanced"
        ]
    return []


def _idle_weights(config: LossConfig, data: StudyDataConfig) -> list[str]:
    if data.task == "binary":
        return []  # said already
    idle = {"bce"} if data.task == "multiclass" else set()
    names = [name for name in pixel_losses("class_weights") if name not in idle]
    if any(getattr(config, name) > 0 for name in names):
        return []
    keys = " and ".join(f"loss.{name}" for name in names)
    return [
        f"loss.class_weights: act in {keys}, {'both' if len(names) == 2 else 'all'} 0; "
        "set one above 0, or null"
    ]
