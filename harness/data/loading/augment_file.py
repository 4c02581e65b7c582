"""Read augmentation steps from YAML files written by `albumentations.save`."""

import inspect
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812 (its own convention)
from pydantic import ValidationError

from harness.core import strict_yaml
from harness.core.errors import ConfigError

Step = Any  # a transform of albumentations, or a composition of some

_OLD_ARGUMENT = "always_apply"
_CLASS = "__class_fullname__"
_REFUSALS = (
    *(ArithmeticError, AttributeError, ImportError, LookupError, NotImplementedError),
    *(TypeError, ValueError),
)


def read_steps(path: Path) -> tuple[list[Step], float]:
    """Read the steps that `albumentations.save(compose, path, data_format="yaml")` wrote.

    Returns:
        The steps of the Compose, and its p.

    Raises:
        ConfigError: no Compose; a step or argument unknown to the installed version.
    """
    compose_config, saved_by = _read_compose_config(path)
    compose = _build_compose(compose_config, path, saved_by)
    unknown = list(_ineffective_arguments(compose_config, compose))
    if unknown:
        raise ConfigError(f"{path}: {_advice(unknown, saved_by)}")
    problems = list(_build_problems(compose_config, compose))
    if problems:
        raise ConfigError(f"{path}: albumentations cannot build it: {'; '.join(problems)}")
    return list(compose.transforms), float(compose.p)


def _read_compose_config(path: Path) -> tuple[dict[str, Any], Any]:
    """The saved Compose, and the version of albumentations that saved it."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text in UTF-8: {error.reason}") from None
    content = strict_yaml.load_yaml(text, source=str(path)).value
    compose_config = content.get("transform") if isinstance(content, dict) else None
    if not isinstance(compose_config, dict) or _step_class_name(compose_config) != "Compose":
        raise ConfigError(
            f"{path}: must contain a Compose as albumentations.save(compose, path, "
            "data_format='yaml') writes it"
        )
    _check_shape(compose_config, path)
    return compose_config, content.get("__version__")


def summarize_error(error: Exception) -> str:
    """Message of an error in one line; for refused arguments, each with its reason."""
    cause = error.__cause__  # albumentations wraps the error of pydantic in a ValueError
    if isinstance(cause, ValidationError):
        problems = [(".".join(map(str, detail["loc"])), detail["msg"]) for detail in cause.errors()]
        return "; ".join(
            f"{location}: {message}" if location else message for location, message in problems
        )
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _check_shape(step_config: Mapping[str, Any], path: Path) -> None:
    """Check recursively that every composition lists its steps."""
    steps = step_config.get("transforms")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ConfigError(
            f"{path}: {_step_class_name(step_config)} must list its steps under transforms, each "
            f"with {_CLASS} and p"
        )
    for step in steps:
        if "transforms" in step:
            _check_shape(step, path)


def _build_compose(compose_config: Mapping[str, Any], path: Path, saved_by: Any) -> Any:
    try:
        # `_ineffective_arguments` and `_build_problems` check what matters: albumentations also
        # warns about files that it saved itself (RGBShift, SafeRotate, PadIfNeeded).
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # from_dict finds classes in albumentations' own registry; no code comes from the file.
            return A.from_dict({"transform": dict(compose_config)})
    except _REFUSALS as error:
        text = _first_broken_step(compose_config) + summarize_error(error)
        if isinstance(error, ZeroDivisionError):  # a choice by their p
            text = f"{_first_broken_step(compose_config)}no step in it has a p above 0"
        elif isinstance(error, KeyError):
            key = str(error.args[0])
            text = f"a step without {key}" if key.startswith("__") else f"it has no step {key!r}"
        raise ConfigError(
            f"{path}: albumentations {A.__version__} cannot build it: "
            f"{text}{_version_hint(saved_by)}"
        ) from None


def _first_broken_step(step_config: Mapping[str, Any]) -> str:
    """Innermost first step that cannot be built, followed by a colon; "" if all can."""
    for step in step_config.get("transforms", ()):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                A.from_dict({"transform": dict(step)})
        except _REFUSALS:
            return _first_broken_step(step) or f"{_step_class_name(step)}: "
    return ""


def _ineffective_arguments(config: Mapping[str, Any], transform: Any) -> Iterator[tuple[Any, str]]:
    """Yield steps with an argument that has no effect in them.

    Some steps of albumentations 2 save arguments that they refuse when loaded. Those always have
    one value, so nothing is lost if the loaded step would save the same value again.
    """
    if isinstance(transform, A.BaseCompose):
        for step_config, step in zip(config["transforms"], transform.transforms, strict=True):
            yield from _ineffective_arguments(step_config, step)
        return
    try:
        resaved = transform.to_dict()["transform"]
    except (
        NotImplementedError
    ):  # steps that need further images: the check of the chain reports them
        resaved = {}
    for name in getattr(transform, "invalid_args", ()):
        if name not in resaved or _to_yaml_value(resaved[name]) != _to_yaml_value(config[name]):
            yield transform, name


def _build_problems(config: Mapping[str, Any], transform: Any) -> Iterator[str]:
    """Yield problems that albumentations only warns about, although the step would act wrongly."""
    if not isinstance(transform, A.BaseCompose) and _supports_strict(type(transform)):
        strict = {
            k: v for k, v in config.items() if k not in getattr(transform, "invalid_args", ())
        }
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                A.from_dict({"transform": strict | {"strict": True}})
        except ValueError as error:
            yield f"{_step_class_name(config)}: {summarize_error(error)}"
    elif isinstance(transform, A.BaseCompose):
        for step_config, step in zip(config["transforms"], transform.transforms, strict=True):
            yield from _build_problems(step_config, step)
    if "p" not in config and _step_class_name(config) not in ("Compose", "Sequential"):
        yield f"{_step_class_name(config)}: has no p; add the probability that it acts, e.g. p: 0.5"


def _supports_strict(kind: type) -> bool:
    """True if a step accepts `strict` and then raises errors instead of warnings."""
    owner = next(base for base in kind.__mro__ if "__init__" in vars(base))
    return "InitSchema" in vars(owner)  # only these constructors are wrapped by its metaclass


def _advice(unknown: list[tuple[Any, str]], saved_by: Any) -> str:
    names = [f"{argument} of {type(step).__name__}" for step, argument in unknown]
    listed = ", ".join(dict.fromkeys(names))
    text = f"albumentations {A.__version__} does not know {listed}{_version_hint(saved_by)}"
    if any(argument == _OLD_ARGUMENT for _, argument in unknown):
        text += f"; remove {_OLD_ARGUMENT} (where it was true, write p: 1.0)"
    others = {type(step): step for step, argument in unknown if argument != _OLD_ARGUMENT}
    for kind in others:
        takes = [name for name in inspect.signature(kind).parameters if name != "strict"]
        text += f"; {kind.__name__} takes {', '.join(takes)}"
    return text


def _version_hint(saved_by: Any) -> str:
    """Hint that a file comes from another version."""
    if not isinstance(saved_by, str) or saved_by == A.__version__:
        return ""
    return (
        f" (the file was saved by {saved_by[:20]!a}: correct it as described, or build the steps "
        f"in Python with {A.__version__} and save them again)"
    )


def _step_class_name(step_config: Mapping[str, Any]) -> str:
    """Class name of a step; versions before 1.4 save it with its module."""
    return str(step_config.get(_CLASS)).rpartition(".")[2]


def _to_yaml_value(value: Any) -> Any:
    """Value as YAML stores it: tuples become lists."""
    if isinstance(value, list | tuple):
        return [_to_yaml_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _to_yaml_value(item) for key, item in value.items()}
    return value
