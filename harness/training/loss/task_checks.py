"""Checks of loss and objective against the task, before trial 0.

A file of its own, without torch: the search space is checked with it, too.
"""

from harness.config.catalogue import Task
from harness.config.components import losses, metrics
from harness.config.data import StudyDataConfig
from harness.config.loss import pixel_losses
from harness.config.study import LossConfig, ObjectiveConfig
from harness.core.errors import ConfigError
from harness.core.text import count


def check_loss_for_task(
    config: LossConfig, data: StudyDataConfig, *, is_sampled_config: bool = False
) -> None:
    """Check that every part of a loss is defined for this task.

    Args:
        is_sampled_config: the configuration of one trial. Its study may search the weights of the
            parts, so class weights without an effect are no error.

    Raises:
        ConfigError: all problems, one line each.
    """
    has_class_weights = config.class_weights is not None
    problems = _weight_problems(config, data) if has_class_weights else []
    if has_class_weights and not is_sampled_config:
        problems += _unused_weights_problems(config, data)
    for name in config.weights:
        entry = losses()[name]
        if data.task not in entry.tasks:
            remedy = f"; {entry.remedy}" if entry.remedy else ""
            problems.append(f"loss.{name}: acts in {_format_tasks(entry.tasks)} tasks{remedy}")
    if problems:
        raise ConfigError(problems)


def check_objective_for_task(config: ObjectiveConfig, data: StudyDataConfig) -> None:
    """Check that this task has the objective metric. Raises ConfigError if it has not."""
    # None for the metrics of one class, such as val/dice/polyp.
    entry = metrics().get(config.metric.removeprefix("val/"))
    if entry is not None and data.task not in entry.tasks:
        remedy = f"; {entry.remedy}" if entry.remedy else ""
        raise ConfigError(
            f"objective.metric: {config.metric} is of {_format_tasks(entry.tasks)} tasks{remedy}"
        )


def _format_tasks(tasks: tuple[Task, ...]) -> str:
    return " and ".join("two-class" if task == "binary" else task for task in tasks)


def may_have_ignored_pixels(data: StudyDataConfig) -> bool:
    """True if masks may hold IGNORE_INDEX; in multiclass tasks padding has that value, too."""
    return data.has_ignored_pixels or data.task == "multiclass"


def _weight_problems(config: LossConfig, data: StudyDataConfig) -> list[str]:
    if data.task == "binary":
        return ["loss.class_weights: act in multiclass and multilabel tasks; set null"]
    n_weights, n_classes = len(config.class_weights or ()), len(data.classes)
    if n_weights != n_classes and config.class_weights != "balanced":
        return [
            f"loss.class_weights: {n_weights} for {count(n_classes, 'class')}; give one for each "
            f"of {', '.join(data.classes)}, or balanced"
        ]
    return []


def _unused_weights_problems(config: LossConfig, data: StudyDataConfig) -> list[str]:
    if data.task == "binary":
        return []  # reported by `_weight_problems`
    entries = losses()
    names = [name for name in pixel_losses("class_weights") if data.task in entries[name].tasks]
    if any(getattr(config, name) > 0 for name in names):
        return []
    keys = " and ".join(f"loss.{name}" for name in names)
    return [
        f"loss.class_weights: act in {keys}, {'both' if len(names) == 2 else 'all'} 0; "
        "set one above 0, or null"
    ]
