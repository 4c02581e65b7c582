"""Names and options of networks that a space may hold, which only the network libraries define."""

from functools import partial
from typing import Any

from harness.config.study import ModelConfig
from harness.core.errors import ConfigError
from harness.models.registry import (
    archs,
    check_model,
    inactive_keys,
    option_names,
    option_problem,
)
from harness.space.keys import OPTIONS_PREFIX
from harness.space.space import AllowedValues


def legal_names() -> AllowedValues:
    """Allowed architectures, encoders and options."""
    options = {arch: option_names(arch) for arch in archs()}
    names = sorted({name for arch_options in options.values() for name in arch_options})
    return AllowedValues(
        values={"model.arch": archs()},
        checks={
            "model.encoder_name": _encoder_problem,
            **{OPTIONS_PREFIX + name: partial(_option_problem, name) for name in names},
        },
        options=options,
        inactive_keys={arch: inactive_keys(arch) for arch in archs()},
    )


def _option_problem(name: str, value: Any) -> str | None:
    """Problem with an option's value; None if at least one architecture accepts it."""
    supporting_archs = [arch for arch in archs() if name in option_names(arch)]
    problems = [option_problem(arch, name, value) for arch in supporting_archs]
    return None if None in problems else next(iter(problems), None)


def _encoder_problem(name: Any) -> str | None:
    """Problem with an encoder name; timm has too many encoders to list them as allowed values."""
    try:
        check_model(ModelConfig(encoder_name=name, encoder_weights=None))
    except ConfigError as error:
        return "; ".join(p.removeprefix("model.encoder_name: ") for p in error.problems)
    return None
