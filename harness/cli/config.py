"""Command `harness config`: print the reference of all settings."""

import json
import sys
from typing import Annotated

import typer

from harness.core.errors import ConfigError
from harness.space.docs.documentation import SettingDoc, document_settings, find_settings
from harness.space.docs.json_schema import SCHEMA_KINDS, SchemaKind, json_schema

TITLES: dict[SchemaKind, str] = {
    "space": "Search space (search_spaces/NAME.yaml, or a CSV with one row per trial)",
    "study": "Study (studies/NAME/study.yaml)",
    "trial": "Trial configuration: what a space may vary or fix, and --set may set",
}


def config(
    key: Annotated[
        str | None,
        typer.Argument(
            help="A setting, a group or space, study, trial. Default: everything. Example: optim.lr"
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            "--json-schema",
            help="Print the JSON Schema of space, study or trial. Example: --json-schema space",
        ),
    ] = None,
) -> None:
    """Show every setting: key, legal values, default, meaning, and when it has an effect.

    Example: harness config optim.lr
    """
    if schema is not None:
        kind = next((candidate for candidate in SCHEMA_KINDS if candidate == schema), None)
        if kind is None:
            raise ConfigError(
                f"--json-schema {schema}: unknown schema; choose from {', '.join(SCHEMA_KINDS)}"
            )
        if key is not None:
            raise ConfigError(f"{key} and --json-schema exclude one another; give one of them")
        # Plain output without rich: it is redirected into a file that editors read.
        sys.stdout.write(json.dumps(json_schema(kind), indent=1) + "\n")
        return
    listed_kind = next((candidate for candidate in SCHEMA_KINDS if candidate == key), None)
    if key is not None and listed_kind is None:
        sys.stdout.write("\n".join(map(describe_setting, find_settings(key))) + "\n")
        return
    for kind in SCHEMA_KINDS if listed_kind is None else (listed_kind,):
        lines = [TITLES[kind], "", *map(describe_setting, document_settings(kind))]
        sys.stdout.write("\n".join(lines) + "\n\n")


def describe_setting(setting: SettingDoc) -> str:
    """Describe a setting in one to three lines."""
    default = f"; default {setting.default}" if setting.default else ""
    lines = [f"{setting.key}  ({setting.takes}{default})"]
    lines += [f"    {text}" for text in (setting.meaning,) if text]
    lines += [f"    acts: {text}" for text in (setting.acts,) if text]
    return "\n".join(lines)
