"""Networks, losses and metrics by name: ours, those of a user's file, those of installed packages.

All are registered by the same three decorators, and then work by name wherever a name is taken:

    from harness import parts

    @parts.loss(tasks=("binary", "multilabel"))
    def boundary(logits, target, *, width: int = 3): ...

Options are the arguments after those that the harness gives; their names are checked against the
signature, their values against the annotations.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from harness.errors import ConfigError, nearest

Kind = Literal["network", "loss", "metric"]
Task = Literal["binary", "multiclass", "multilabel"]
TASKS: tuple[Task, ...] = get_args(Task)

# What the harness gives to each kind, by name; a network takes those of them that it names.
GIVEN: Mapping[Kind, tuple[str, ...]] = {
    "network": ("in_channels", "classes", "encoder_name", "encoder_depth", "encoder_weights"),
    "loss": ("logits", "target"),
    "metric": ("probability", "truth", "valid"),
}
_MUST_TAKE: Mapping[Kind, tuple[str, ...]] = {
    **GIVEN,
    "network": ("in_channels", "classes"),
}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")

_Build = TypeVar("_Build", bound=Callable[..., Any])


@dataclass(frozen=True)
class Part:
    """A network, loss or metric with a name.

    Attributes:
        build: The decorated class or function.
        tasks: The tasks in which it can act.
        direction: Of a metric: which way is better.
        origin: Where it was written, for messages: `harness`, a file, a package.
    """

    kind: Kind
    name: str
    build: Callable[..., Any]
    tasks: tuple[Task, ...] = TASKS
    direction: Literal["minimize", "maximize"] = "maximize"
    origin: str = "harness"

    @cached_property
    def arguments(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of the decorated class or function, `self` left out."""
        return inspect.signature(self.build, eval_str=True).parameters

    @cached_property
    def options(self) -> Mapping[str, inspect.Parameter]:
        """The arguments that the user may set."""
        given = GIVEN[self.kind]
        return {name: one for name, one in self.arguments.items() if name not in given}

    def takes(self, argument: str) -> bool:
        """Whether a network is given this argument, e.g. `encoder_name`."""
        return argument in self.arguments

    def option_problem(self, name: str, value: Any) -> str | None:
        """Why an option cannot have this value; None: it can. The message has no place."""
        if name not in self.options:
            return f"{self.name} has no such option{nearest(name, self.options)}"
        return value_problem(self.options[name].annotation, value)


def value_problem(annotation: Any, value: Any) -> str | None:
    """Why a value does not fit the annotation of an argument; None: it does, or there is none."""
    if annotation is inspect.Parameter.empty:
        return None
    try:
        TypeAdapter(annotation, config=ConfigDict(strict=True)).validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"].replace("an instance of Sequence", "a list")
        return f"{message[0].lower()}{message[1:]} (got {value!r})"
    return None


_PARTS: dict[tuple[Kind, str], Part] = {}


def network(name: str | None = None, *, origin: str | None = None) -> Callable[[_Build], _Build]:
    """Register a network: a class or function that gives a `torch.nn.Module`.

    It is called with those of in_channels, classes, encoder_name, encoder_depth and
    encoder_weights that it names, and with its options; it maps (N, in_channels, H, W) to logits
    (N, classes, H, W). Where it names encoder_name, the module has that encoder as `.encoder`.
    """
    return _registering("network", name, origin, {})


def loss(
    name: str | None = None, *, tasks: tuple[Task, ...] = TASKS, origin: str | None = None
) -> Callable[[_Build], _Build]:
    """Register a loss: a function of (logits, target, **options) that gives a scalar.

    Logits are (N, n_outputs, H, W), 32-bit. Targets are (N, 1, H, W) floats in two-class tasks,
    (N, H, W) integers in multiclass ones, (N, K, H, W) floats in multilabel ones; pixels whose
    target is `harness.data_config.VOID` must not count.
    """
    return _registering("loss", name, origin, {"tasks": tasks})


def metric(
    name: str | None = None,
    *,
    direction: Literal["minimize", "maximize"] = "maximize",
    tasks: tuple[Task, ...] = TASKS,
    origin: str | None = None,
) -> Callable[[_Build], _Build]:
    """Register a metric: a function of (probability, truth, valid, **options) that gives a number.

    It sees one validation image and class at eval_size, as (H, W) arrays: probability is 32-bit in
    [0, 1], truth and valid are boolean. None means that this image does not count.
    """
    return _registering("metric", name, origin, {"tasks": tasks, "direction": direction})


def registered(kind: Kind) -> Mapping[str, Part]:
    """All parts of a kind, by name, in the order in which they were registered."""
    return {name: part for (one, name), part in _PARTS.items() if one == kind}


def find_part(kind: Kind, name: str) -> Part:
    """The part of that name. Raises ConfigError with the nearest name."""
    found = _PARTS.get((kind, name))
    if found is None:
        raise ConfigError(f"no {kind} {name!r}{nearest(name, registered(kind))}")
    return found


def _registering(
    kind: Kind, name: str | None, origin: str | None, about: Mapping[str, Any]
) -> Callable[[_Build], _Build]:
    def decorate(build: _Build) -> _Build:
        source = origin or _origin(build)
        part = Part(kind, name or build.__name__, build, origin=source, **about)
        problem = _problem(part)
        if problem is not None:
            raise ConfigError(f"{source}: {kind} {part.name!r}: {problem}")
        _PARTS[kind, part.name] = part
        return build

    return decorate


def _origin(build: Callable[..., Any]) -> str:
    module = build.__module__
    if module.startswith("harness."):
        return "harness"
    return str(inspect.getsourcefile(build) or module)


def _problem(part: Part) -> str | None:
    if not NAME.fullmatch(part.name):
        return "a name is a letter, then up to 39 letters, digits and underscores"
    other = _PARTS.get((part.kind, part.name))
    if other is not None and other.origin != part.origin:
        return f"there is one already, from {other.origin}; take another name"
    try:
        part.arguments  # noqa: B018 - annotations written as text are looked up here
    except (NameError, TypeError, ValueError) as error:
        return f"its signature cannot be read ({error})"
    missing = [name for name in _MUST_TAKE[part.kind] if name not in part.arguments]
    if missing:
        return f"must take the argument {' and '.join(missing)}"
    for name, argument in part.options.items():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            return f"takes *{name}; name every option, so that misspelt ones are found"
        if argument.default is argument.empty:
            return f"option {name} needs a default"
        try:
            TypeAdapter(argument.annotation if argument.annotation is not argument.empty else Any)
        except (PydanticSchemaGenerationError, TypeError, NameError) as error:
            return f"option {name}: annotation {argument.annotation!r} cannot be checked ({error})"
    return None
