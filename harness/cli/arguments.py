"""Values of the command line as arguments of the API: settings, durations, names."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from harness.core import strict_yaml
from harness.core.errors import ConfigError, suggest_nearest

FROM_PREFIX = "from:"
# [0-9] and not \d, which matches the digits of every script.
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_DURATION = re.compile("".join(f"(?:{_NUMBER}{unit})?" for unit in ("d", "h", "m", "s?")))
_UNITS_S = (86400, 3600, 60, 1)


def api_arguments(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the API for the parameters of a command, its `locals()`.

    Options that were not given are left out, so that the defaults of the API apply.

    Raises:
        ConfigError: a value of `--set`, `--timeout`, `--workers` or `--per-gpu` cannot be read.
    """
    arguments = {name: value for name, value in parameters.items() if value is not None}
    if "set_" in arguments:
        arguments["fixed"] = parse_settings(arguments.pop("set_"))
    if "from_" in arguments:
        arguments["import_from"] = arguments.pop("from_")
    if "timeout" in arguments:
        arguments["timeout_s"] = parse_duration(arguments.pop("timeout"))
    if "workers" in arguments:
        arguments["workers"] = parse_workers(arguments["workers"], arguments.get("cluster"))
    if "per_gpu" in arguments:
        arguments["per_gpu"] = parse_per_gpu(arguments["per_gpu"])
    return arguments


def same_workspace(workspace: Path) -> str:
    """End of a printed command, so that it acts on the workspace of this one when it is pasted."""
    return "" if workspace == Path() else f" --workspace {shlex.quote(str(workspace))}"


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """`["optim.lr=1e-3"]` → `{"optim.lr": 0.001}`; values are read as YAML.

    `model.arch=from:encoders` is short for `model.arch={from: encoders}`.

    Raises:
        ConfigError: every setting that is not KEY=VALUE, or whose value is not valid YAML.
    """
    parsed: dict[str, Any] = {}
    problems = []
    for setting in settings:
        # At the first "=": a value may hold further ones.
        key, equals, value = setting.partition("=")
        if not (key and equals):
            problems.append(f"--set {setting}: must be KEY=VALUE, e.g. --set train.epochs=10")
            continue
        if value.strip().startswith(FROM_PREFIX):
            parsed[key.strip()] = {"from": value.strip().removeprefix(FROM_PREFIX).strip()}
            continue
        # Read as YAML 1.2, so that 1e-3 is a number, null is None and [64, 96] is a list.
        try:
            parsed[key.strip()] = strict_yaml.load_yaml(value, source=f"--set {key}").value
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return parsed


def parse_duration(text: str) -> float:
    """`90m`, `2h`, `1h30m`, `2d` or `3600` as seconds. Raises ConfigError for anything else."""
    match = _DURATION.fullmatch(text.strip().lower())
    parts = [float(part or 0) for part in match.groups()] if match else []
    # strict=False: without a match there are no parts, and the sum of 0 is refused below.
    seconds = sum(part * unit for part, unit in zip(parts, _UNITS_S, strict=False))
    # A number of 400 digits is infinite as a float, and would be a limit that never comes.
    if not 0 < seconds < math.inf:
        raise ConfigError(f"--timeout {text}: must be a time such as 8h, 90m, 1h30m or 3600 (s)")
    return seconds


def parse_workers(text: str, cluster: str | None) -> int | Literal["auto", "max"]:
    """`4`, `auto` or, on a cluster, `max`. Raises ConfigError for anything else."""
    if text == "max" and cluster is not None:
        return "max"
    if text == "max":
        raise ConfigError("--workers max: needs --cluster; give a number of workers, or auto")
    if text == "auto" and cluster is None:
        return "auto"
    return _parse_count("--workers", text, "auto" if cluster is None else "max")


def parse_per_gpu(text: str) -> int | Literal["auto"]:
    """`2` or `auto`. Raises ConfigError for anything else."""
    return "auto" if text == "auto" else _parse_count("--per-gpu", text, "auto")


def _parse_count(option: str, text: str, word: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= 64):
        raise ConfigError(f"{option} {text}: must be from 1 to 64, or {word}")
    return int(text)


def check_name(option: str, kind: str, value: str | None, allowed: Sequence[str]) -> None:
    """Raise ConfigError with the nearest or all allowed names for a name that is not allowed."""
    if value is None or value in allowed:
        return
    nearest = suggest_nearest(value, allowed, max_listed=0)
    hint = nearest or f"; choose from {', '.join(sorted(allowed))}"
    raise ConfigError(f"{option} {value}: unknown {kind}{hint}")
