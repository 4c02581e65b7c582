"""What a task has no use for, said before trial 0. No torch here."""

from harness.config.components import get_components
from harness.config.data import StudyDataConfig
from harness.config.loss import find_loss_setting, pixel_losses
from harness.config.study import LossConfig, ObjectiveConfig
from harness.core.errors import ConfigError
from harness.core.plurals import count


def check_loss_for_task(
    config: LossConfig, data: StudyDataConfig, *, is_sampled_config: bool = False
) -> None:
    """Whether every part of a loss can act in this task.

    Args:
        is_sampled_config: of a study in which the weights are searched: class weights may be
            without effect beside these.

    Raises:
        ConfigError: all that cannot, one line each.
    """
    has_class_weights = config.class_weights is not None
    problems = _weight_problems(config, data) if has_class_weights else []
    if has_class_weights and not is_sampled_config:
        problems += _unused_weights_problems(config, data)
    if data.task == "multiclass" and config.bce > 0:
        problems.append("loss.bce: acts in two-class and multilabel tasks; use loss.ce")
    for name in config.weights:
        registered_loss = find_loss_setting(name)
        if registered_loss is not None and data.task not in registered_loss[0].tasks:
            problems.append(f"loss.{name}: acts in {' and '.join(registered_loss[0].tasks)} tasks")
    if problems:
        raise ConfigError(problems)


def check_objective_for_task(config: ObjectiveConfig, data: StudyDataConfig) -> None:
    """Whether this task has the objective metric. Raises ConfigError if not."""
    part = get_components("metric").get(config.metric.removeprefix("val/"))
    if not config.is_builtin and part is not None and data.task not in part.tasks:
        tasks = " and ".join(part.tasks)
        raise ConfigError(f"objective.metric: {config.metric} is of {tasks} tasks")
    if config.metric == "val/miou" and data.task != "multiclass":
        raise ConfigError("objective.metric: val/miou is of multiclass tasks; use val/iou_micro")


def may_have_ignored_pixels(data: StudyDataConfig) -> bool:
    """Whether masks may hold VOID: those of multiclass tasks do where they were padded."""
    return data.has_ignored_pixels or data.task == "multiclass"


def _weight_problems(config: LossConfig, data: StudyDataConfig) -> list[str]:
    if data.task == "binary":
        return ["loss.class_weights: act in multiclass and multilabel tasks; set null"]
    n_weights, n_classes = len(config.class_weights or ()), len(data.classes)
    if n_weights != n_classes and config.class_weights != "balanced":
        return [
            f"loss.class_weights: {n_weights} for {count(n_classes, 'class')}; give one for each "
            "of "
            f"{', '.join(data.classes)}, or balanced"
        ]
    return []


def _unused_weights_problems(config: LossConfig, data: StudyDataConfig) -> list[str]:
    if data.task == "binary":
        return []  # said already
    inapplicable = {"bce"} if data.task == "multiclass" else set()
    names = [name for name in pixel_losses("class_weights") if name not in inapplicable]
    if any(getattr(config, name) > 0 for name in names):
        return []
    keys = " and ".join(f"loss.{name}" for name in names)
    return [
        f"loss.class_weights: act in {keys}, {'both' if len(names) == 2 else 'all'} 0; "
        "set one above 0, or null"
    ]
