"""`harness config`."""

import json
import sys
from typing import Annotated

import typer

from harness.errors import ConfigError, nearest
from harness.space.documentation import Setting, find_setting, settings_of
from harness.space.json_schema import KINDS, Kind, json_schema

TITLES: dict[Kind, str] = {
    "space": "Search space (search_spaces/NAME.yaml, or a CSV with one row per trial)",
    "study": "Study (studies/NAME/study.yaml)",
    "trial": "Trial configuration: what a space may vary or fix, and --set may set",
}


def config(
    key: Annotated[
        str | None, typer.Argument(help="A setting or a group, e.g. optim.lr, or space.")
    ] = None,
    schema: Annotated[
        str | None, typer.Option("--json-schema", help="space, study or trial, for editors.")
    ] = None,
) -> None:
    """Show what can be set: key, what it takes, its default, what it means and when it acts.

    Example: harness config optim.lr
    """
    if schema is not None:
        kind = next((one for one in KINDS if one == schema), None)
        if kind is None:
            raise ConfigError(f"--json-schema {schema}: there is none{nearest(schema, KINDS)}")
        if key is not None:
            raise ConfigError("a key and --json-schema: give one")
        sys.stdout.write(json.dumps(json_schema(kind), indent=1) + "\n")
        return
    whole = next((one for one in KINDS if one == key), None)
    if key is not None and whole is None:
        sys.stdout.write("\n".join(map(described, find_setting(key))) + "\n")
        return
    for kind in KINDS if whole is None else (whole,):
        lines = [TITLES[kind], "", *map(described, settings_of(kind))]
        sys.stdout.write("\n".join(lines) + "\n\n")


def described(setting: Setting) -> str:
    """A setting in one to three lines."""
    default = f"; default {setting.default}" if setting.default else ""
    lines = [f"{setting.key}  ({setting.takes}{default})"]
    lines += [f"    {text}" for text in (setting.meaning,) if text]
    lines += [f"    acts: {text}" for text in (setting.acts,) if text]
    return "\n".join(lines)
