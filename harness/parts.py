"""Networks, losses and metrics by name: ours, those of a user's file, those of installed packages.

All are registered by the same three decorators, and then work by name wherever a name is taken:

    from harness import parts

    @parts.loss(tasks=("binary", "multilabel"))
    def boundary(logits, target, *, width: int = 3): ...

Options are the arguments after those that the harness gives; their names are checked against the
signature, their values against the annotations. `harness.parts_files` reads files and packages.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args

from pydantic import PydanticSchemaGenerationError, TypeAdapter

from harness.annotations import fitted, value_problem
from harness.errors import ConfigError, nearest

Kind = Literal["network", "loss", "metric"]
Task = Literal["binary", "multiclass", "multilabel"]
TASKS: tuple[Task, ...] = get_args(Task)

# What the harness gives to each kind, by name; a network or loss takes those of them that it names.
GIVEN: Mapping[Kind, tuple[str, ...]] = {
    "network": (
        "in_channels",
        "classes",
        "encoder_name",
        "encoder_depth",
        "encoder_weights",
        "image_size",
    ),
    "loss": ("logits", "target", "task", "void", "label_smoothing", "class_weights"),
    "metric": ("probability", "truth", "valid"),
}
_MUST_TAKE: Mapping[Kind, tuple[str, ...]] = {
    **GIVEN,
    "network": ("in_channels", "classes"),
    "loss": ("logits", "target"),
}
# Names that mean something already: architectures, settings below `loss.`, metrics and columns of
# scores.csv.
_NETWORKS = (
    "Unet UnetPlusPlus MAnet Linknet FPN PSPNet DeepLabV3 DeepLabV3Plus PAN UPerNet Segformer DPT "
    "fcn attention_unet"
)
_LOSS_SETTINGS = (
    "dice bce ce focal jaccard tversky lovasz focal_gamma tversky_alpha label_smoothing "
    "class_weights"
)
_METRICS = (
    "dice_loss dice iou precision recall accuracy dice_micro iou_micro precision_micro "
    "recall_micro accuracy_micro miou false_alarm_share epoch row image class sum_py sum_p sum_y "
    "tp fp fn tn"
)
RESERVED: Mapping[Kind, frozenset[str]] = {
    "network": frozenset(_NETWORKS.split()),
    "loss": frozenset(_LOSS_SETTINGS.split()),
    "metric": frozenset(_METRICS.split()),
}
OURS = "harness"
PACKAGE = "package "  # what the origin of an installed package's parts begins with
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
    origin: str = OURS

    @property
    def is_ours(self) -> bool:
        """Whether it came with the harness."""
        return self.origin == OURS

    @property
    def of_file(self) -> bool:
        """Whether it is of a user's file, and not of an installed package."""
        return not self.is_ours and not self.origin.startswith(PACKAGE)

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
        """Whether it is given this argument, e.g. a network its `encoder_name`."""
        return argument in self.arguments

    @property
    def keys(self) -> tuple[str, ...]:
        """Of a loss: its settings below `loss.`, the weight first: `boundary`, `boundary_width`."""
        return (self.name, *(f"{self.name}_{option}" for option in self.options))

    def option_problem(self, name: str, value: Any) -> str | None:
        """Why an option cannot have this value; None: it can. The message has no place."""
        if name not in self.options:
            return f"{self.name} has no such option{nearest(name, self.options)}"
        return value_problem(self.options[name].annotation, value)

    def fitted(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options that fit, with lists as what their annotations say, e.g. tuples."""
        return {
            name: fitted(self.options[name].annotation, value)
            if isinstance(value, list) and name in self.options
            else value
            for name, value in options.items()
        }


_PARTS: dict[tuple[Kind, str], Part] = {}
_origin_now: list[str] = []  # of the file or package that is being read


def network(name: str | None = None, *, origin: str | None = None) -> Callable[[_Build], _Build]:
    """Register a network: a class or function that gives a `torch.nn.Module`.

    It is called with those of in_channels, classes, encoder_name, encoder_depth, encoder_weights
    (None: the harness loads them afterwards) and image_size ([H, W] where the encoder is built for
    one size) that it names, and with its options; it maps (N, in_channels, H, W) to logits
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

    Its weight in the training loss is `loss.<name>`, its options are `loss.<name>_<option>`. It is
    also given those of these that it names: task; void, whether targets may hold VOID;
    label_smoothing; class_weights, a tensor (n_outputs,) on the device of the logits, or None.
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
    [0, 1], truth and valid are boolean; all three are read-only. None means that this image does
    not count.
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


@contextmanager
def registering_for(origin: str) -> Iterator[None]:
    """What is registered inside comes from `origin`; none of it stays if an exception leaves."""
    before = dict(_PARTS)
    _origin_now.append(origin)
    try:
        yield
    except BaseException:
        _PARTS.clear()
        _PARTS.update(before)
        raise
    finally:
        _origin_now.pop()


def unregister(origin: str) -> None:
    """Forget the parts that came from there."""
    for place in [place for place, part in _PARTS.items() if part.origin == origin]:
        del _PARTS[place]


def _registering(
    kind: Kind, name: str | None, origin: str | None, about: Mapping[str, Any]
) -> Callable[[_Build], _Build]:
    def decorate(build: _Build) -> _Build:
        source = origin or (_origin_now[-1] if _origin_now else _origin(build))
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
        return OURS
    return str(inspect.getsourcefile(build) or module)


def _problem(part: Part) -> str | None:
    if not NAME.fullmatch(part.name):
        return "a name is a letter, then up to 39 letters, digits and underscores"
    other = _PARTS.get((part.kind, part.name))
    if part.name in RESERVED[part.kind] and not part.is_ours:
        return "the name means something already; take another"
    if other is not None and other.origin != part.origin:
        return f"there is one already, from {other.origin}; take another name"
    try:
        part.arguments  # noqa: B018 - annotations written as text are looked up here
    except (NameError, TypeError, ValueError) as error:
        return f"its signature cannot be read ({error})"
    missing = [name for name in _MUST_TAKE[part.kind] if name not in part.arguments]
    if missing:
        return f"must take the argument {' and '.join(missing)}"
    return _options_problem(part) or (_keys_problem(part) if part.kind == "loss" else None)


def _options_problem(part: Part) -> str | None:
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


def _keys_problem(part: Part) -> str | None:
    """Two losses whose settings would have one name: `a` with b_c, and `a_b` with c."""
    ours = () if part.is_ours else RESERVED["loss"]
    others = [one for one in registered("loss").values() if one.name != part.name]
    taken = {*ours, *(key for one in others for key in one.keys)}
    both = [key for key in part.keys if key in taken]
    return f"its setting loss.{both[0]} is there already; rename the option" if both else None
