"""A network, loss or metric together with its code, and the entry that the catalogue has of it."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from harness.config.catalogue import (
    BUILTIN_ORIGIN,
    PIXEL_SETTINGS,
    TASKS,
    Direction,
    LossEntry,
    LossOption,
    MetricEntry,
    Task,
)
from harness.core.annotations import annotation_problem, coerce_value
from harness.core.errors import suggest_nearest

ComponentKind = Literal["network", "loss", "metric"]

# Arguments that the harness passes by name; a network or loss receives those that it declares.
HARNESS_ARGUMENTS: Mapping[ComponentKind, tuple[str, ...]] = {
    "network": (
        "in_channels",
        "classes",
        "encoder_name",
        "encoder_depth",
        "encoder_weights",
        "image_size",
    ),
    "loss": ("logits", "target", "task", "void", *PIXEL_SETTINGS),
    "metric": ("probability", "truth", "valid"),
}
PACKAGE_PREFIX = "package "  # begins the origin of components of an installed package


@dataclass(frozen=True)
class Component:
    """A network, loss or metric together with its code.

    Attributes:
        build: the decorated class or function.
        tasks: the tasks in which it can act.
        direction: the better way of a metric.
        origin: `harness`, a file or a package, for messages.
    """

    kind: ComponentKind
    name: str
    build: Callable[..., Any]
    tasks: tuple[Task, ...] = TASKS
    direction: Direction = "maximize"
    origin: str = BUILTIN_ORIGIN

    @property
    def is_builtin(self) -> bool:
        """True for a component of this package."""
        return self.origin == BUILTIN_ORIGIN

    @property
    def is_from_file(self) -> bool:
        """True for a component of a user's file, false for one of an installed package."""
        return not self.is_builtin and not self.origin.startswith(PACKAGE_PREFIX)

    @cached_property
    def arguments(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of the decorated class or function, without `self`."""
        return inspect.signature(self.build, eval_str=True).parameters

    @cached_property
    def options(self) -> Mapping[str, inspect.Parameter]:
        """The arguments that the user may set."""
        harness_arguments = HARNESS_ARGUMENTS[self.kind]
        return {
            name: argument
            for name, argument in self.arguments.items()
            if name not in harness_arguments
        }

    def accepts(self, argument: str) -> bool:
        """True if it declares this argument, e.g. a network `encoder_name`."""
        return argument in self.arguments

    @cached_property
    def loss_entry(self) -> LossEntry:
        """The catalogue's entry of a loss."""
        return LossEntry(
            name=self.name,
            tasks=self.tasks,
            options=tuple(
                LossOption(name=name, default=option.default, annotation=option.annotation)
                for name, option in self.options.items()
            ),
            pixel_settings=tuple(filter(self.accepts, PIXEL_SETTINGS)),
            origin=self.origin,
        )

    @property
    def metric_entry(self) -> MetricEntry:
        """The catalogue's entry of a metric."""
        return MetricEntry(
            name=self.name, direction=self.direction, tasks=self.tasks, is_bounded=False
        )

    def option_problem(self, name: str, value: Any) -> str | None:
        """Reason why an option cannot have this value, without its key; None if it can."""
        if name not in self.options:
            return f"unknown option of {self.name}{suggest_nearest(name, self.options)}"
        return annotation_problem(self.options[name].annotation, value)

    def coerce_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Valid options; a list becomes what the annotation requires, e.g. a tuple."""
        return {
            name: coerce_value(self.options[name].annotation, value)
            if isinstance(value, list) and name in self.options
            else value
            for name, value in options.items()
        }
