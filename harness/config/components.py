"""Registry of networks, losses and metrics: built in, from a user's file, from packages.

All are registered by the same three decorators and are then used by name:

    from harness import parts

    @parts.loss(tasks=("binary", "multilabel"))
    def edges(logits, target, *, width: int = 3): ...

Arguments that the harness does not pass itself are options: their names are checked against the
signature, their values against the annotations. `config.user_code` reads files and packages.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import PydanticSchemaGenerationError, TypeAdapter

from harness.config.catalogue import (
    BUILTIN_LOSS_ENTRIES,
    BUILTIN_ORIGIN,
    NETWORKS,
    PIXEL_SETTINGS,
    TASKS,
    Direction,
    LossEntry,
    MetricEntry,
    Task,
)
from harness.config.component_interface import HARNESS_ARGUMENTS, Component, ComponentKind
from harness.config.measurements import BUILTIN_METRICS
from harness.core.errors import ConfigError, suggest_nearest

_REQUIRED_ARGUMENTS: Mapping[ComponentKind, tuple[str, ...]] = {
    **HARNESS_ARGUMENTS,
    "network": ("in_channels", "classes"),
    "loss": ("logits", "target"),
}
# Refused as names of metrics: scores.csv has these columns next to one for each metric, and a trial
# has the key `best/epoch` next to `best/<metric>`.
_COLUMN_NAMES = ("epoch", "row", "image", "class", "sum_py", "sum_p", "sum_y")
_COUNT_NAMES = ("tp", "fp", "fn", "tn")
# From the catalogue, not from what is imported: the same names are refused in every process.
RESERVED_NAMES: Mapping[ComponentKind, frozenset[str]] = {
    "network": frozenset(NETWORKS),
    "loss": frozenset(
        {key for entry in BUILTIN_LOSS_ENTRIES.values() for key in entry.setting_keys}
        | set(PIXEL_SETTINGS)
    ),
    "metric": frozenset({*BUILTIN_METRICS, *_COLUMN_NAMES, *_COUNT_NAMES}),
}
COMPONENT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")

_Build = TypeVar("_Build", bound=Callable[..., Any])


_COMPONENTS: dict[tuple[ComponentKind, str], Component] = {}
# Origins of the files and packages that are being read; a file may import a package that registers.
_origin_stack: list[str] = []


def network(name: str | None = None, *, origin: str | None = None) -> Callable[[_Build], _Build]:
    """Register a network: a class or function that returns a `torch.nn.Module`.

    The module maps (N, in_channels, H, W) to logits (N, classes, H, W). If `encoder_name` is an
    argument, the module has that encoder as `.encoder`.

    The code is called with its options and with those of these arguments that it declares:
    in_channels, classes, encoder_name, encoder_depth, encoder_weights (always None: the harness
    loads weights afterwards), image_size ([H, W] for an encoder of a fixed size).

    Args:
        name: name in `model.arch`; None: the name of the class or function.
        origin: file or package for messages; None: the one that is being read.

    Raises:
        ConfigError: the name is in use, or the signature is unsuitable.
    """
    return _make_decorator("network", name, origin, {})


def loss(
    name: str | None = None, *, tasks: tuple[Task, ...] = TASKS, origin: str | None = None
) -> Callable[[_Build], _Build]:
    """Register a loss: a function of (logits, target, **options) that returns a scalar.

    Logits are (N, n_outputs, H, W), 32-bit. Targets are (N, 1, H, W) floats in two-class tasks,
    (N, H, W) integers in multiclass tasks, (N, K, H, W) floats in multilabel tasks. Pixels with the
    target `harness.parts.IGNORE_INDEX` must not count.

    Its weight in the training loss is `loss.<name>`, its options are `loss.<name>_<option>`. The
    function also receives those of these arguments that it declares: task; void, True if targets
    may contain IGNORE_INDEX; label_smoothing; class_weights, a tensor (n_outputs,) on the device of
    the logits, or None.

    Raises:
        ConfigError: the name is in use, or the signature is unsuitable.
    """
    return _make_decorator("loss", name, origin, {"tasks": tasks})


def metric(
    name: str | None = None,
    *,
    direction: Direction = "maximize",
    tasks: tuple[Task, ...] = TASKS,
    origin: str | None = None,
) -> Callable[[_Build], _Build]:
    """Register a metric: a function of (probability, truth, valid, **options) that returns a float.

    It is called for each validation image and class at eval_size, with read-only (H, W) arrays:
    probability is 32-bit in [0, 1], truth and valid are boolean. Images for which it returns None
    do not count.

    Raises:
        ConfigError: the name is in use, or the signature is unsuitable.
    """
    return _make_decorator("metric", name, origin, {"tasks": tasks, "direction": direction})


def get_components(kind: ComponentKind) -> Mapping[str, Component]:
    """All registered components of a kind, by name, in the order of registration."""
    return {
        name: component
        for (component_kind, name), component in _COMPONENTS.items()
        if component_kind == kind
    }


def find_component(kind: ComponentKind, name: str) -> Component:
    """Component of a name. Raises ConfigError with the nearest name if it is unknown."""
    component = _COMPONENTS.get((kind, name))
    if component is None:
        raise ConfigError(f"unknown {kind} {name!r}{suggest_nearest(name, get_components(kind))}")
    return component


def losses() -> Mapping[str, LossEntry]:
    """All losses by name: the built-in ones, then those that users and packages registered."""
    registered = get_components("loss").values()
    return dict(BUILTIN_LOSS_ENTRIES) | {
        component.name: component.loss_entry for component in registered if not component.is_builtin
    }


def metrics() -> Mapping[str, MetricEntry]:
    """All metrics by name: the built-in ones, then those that users and packages registered."""
    registered = get_components("metric").values()
    return dict(BUILTIN_METRICS) | {part.name: part.metric_entry for part in registered}


@contextmanager
def registration_scope(origin: str) -> Iterator[None]:
    """Register with this origin inside the block; undo all of it after an exception."""
    # Parts of a file that failed half-way must not remain: a second study in this process would
    # see them.
    snapshot = dict(_COMPONENTS)
    _origin_stack.append(origin)
    try:
        yield
    except BaseException:
        _COMPONENTS.clear()
        _COMPONENTS.update(snapshot)
        raise
    finally:
        _origin_stack.pop()


def unregister_origin(origin: str) -> None:
    """Remove the components of this origin from the registry."""
    for key in [key for key, component in _COMPONENTS.items() if component.origin == origin]:
        del _COMPONENTS[key]


def _make_decorator(
    kind: ComponentKind, name: str | None, origin: str | None, properties: Mapping[str, Any]
) -> Callable[[_Build], _Build]:
    def decorate(build: _Build) -> _Build:
        source = origin or (_origin_stack[-1] if _origin_stack else _find_origin(build))
        component = Component(kind, name or build.__name__, build, origin=source, **properties)
        if component.is_builtin and kind == "loss":  # KeyError: the catalogue lacks a new loss
            component = replace(component, tasks=BUILTIN_LOSS_ENTRIES[component.name].tasks)
        problem = _component_problem(component)
        if problem is not None:
            raise ConfigError(f"{source}: {kind} {component.name!r}: {problem}")
        _COMPONENTS[kind, component.name] = component
        return build

    return decorate


def _find_origin(build: Callable[..., Any]) -> str:
    module = build.__module__
    if module.startswith("harness."):
        return BUILTIN_ORIGIN
    return str(inspect.getsourcefile(build) or module)


def _component_problem(component: Component) -> str | None:
    if not COMPONENT_NAME.fullmatch(component.name):
        return "a name is a letter, then up to 39 letters, digits and underscores"
    existing = _COMPONENTS.get((component.kind, component.name))
    if component.name in RESERVED_NAMES[component.kind] and not component.is_builtin:
        return "the name is in use by the harness; choose another"
    # The same origin may register again: a second study in this process reads the file once more.
    if existing is not None and existing.origin != component.origin:
        return f"the name is already registered by {existing.origin}; choose another"
    try:
        component.arguments  # noqa: B018 - annotations written as text are looked up here
    except (NameError, TypeError, ValueError) as error:
        return f"its signature cannot be read ({error})"
    missing = [
        name for name in _REQUIRED_ARGUMENTS[component.kind] if name not in component.arguments
    ]
    if missing:
        return f"must have the argument {' and '.join(missing)}"
    return _options_problem(component) or (
        _keys_problem(component) if component.kind == "loss" else None
    )


def _options_problem(component: Component) -> str | None:
    for name, argument in component.options.items():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            return f"has *{name}; declare each option, so that misspelt names are found"
        if argument.default is argument.empty:
            return f"option {name} needs a default"
        try:  # pydantic cannot validate every annotation; find out here, not in the first trial
            TypeAdapter(argument.annotation if argument.annotation is not argument.empty else Any)
        except (PydanticSchemaGenerationError, TypeError, NameError) as error:
            return f"option {name}: annotation {argument.annotation!r} cannot be checked ({error})"
    return None


def _keys_problem(component: Component) -> str | None:
    """Reason if two losses have one key: `a` with the option b_c, and `a_b` with the option c."""
    builtin_keys = () if component.is_builtin else RESERVED_NAMES["loss"]
    others = [entry for name, entry in losses().items() if name != component.name]
    used_keys = {*builtin_keys, *(key for entry in others for key in entry.setting_keys)}
    duplicates = [key for key in component.loss_entry.setting_keys if key in used_keys]
    return (
        f"its setting loss.{duplicates[0]} is already in use; rename the option"
        if duplicates
        else None
    )
