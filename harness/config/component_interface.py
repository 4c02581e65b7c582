"""Network, loss or metric with its code, its options and its entry in the catalogue."""

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

# Arguments that the harness passes by name; a network or loss receives those that it declares. All
# other arguments are options of the user, so a new name here would take an option away from users.
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
    """Network, loss or metric with its code.

    Attributes:
        build: the decorated class or function.
        tasks: tasks in which it has an effect.
        direction: direction in which a metric improves.
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
        """True for a component of a user's file; False for one of a package or a built-in one."""
        return not self.is_builtin and not self.origin.startswith(PACKAGE_PREFIX)

    @cached_property
    def arguments(self) -> Mapping[str, inspect.Parameter]:
        """Arguments of the decorated class or function, without `self`."""
        # eval_str: after `from __future__ import annotations` they are texts, which validate
        # nothing.
        return inspect.signature(self.build, eval_str=True).parameters

    @cached_property
    def options(self) -> Mapping[str, inspect.Parameter]:
        """Arguments that the user can set."""
        harness_arguments = HARNESS_ARGUMENTS[self.kind]
        return {
            name: argument
            for name, argument in self.arguments.items()
            if name not in harness_arguments
        }

    def accepts(self, argument: str) -> bool:
        """True if the code declares this argument, e.g. a network `encoder_name`."""
        return argument in self.arguments

    @cached_property
    def loss_entry(self) -> LossEntry:
        """Entry of a loss in the catalogue."""
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
        """Entry of a metric in the catalogue."""
        # The bounds of a user's metric are unknown, so only finite values are required of it.
        return MetricEntry(
            name=self.name, direction=self.direction, tasks=self.tasks, is_bounded=False
        )

    def option_problem(self, name: str, value: Any) -> str | None:
        """Reason why an option cannot have this value, without its key; None if it is legal."""
        if name not in self.options:
            return f"unknown option of {self.name}{suggest_nearest(name, self.options)}"
        return annotation_problem(self.options[name].annotation, value)

    def coerce_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Convert the lists among valid options to the annotated type, e.g. a tuple."""
        # YAML has lists only, and code that is annotated with a tuple may rely on one.
        return {
            name: coerce_value(self.options[name].annotation, value)
            if isinstance(value, list) and name in self.options
            else value
            for name, value in options.items()
        }
