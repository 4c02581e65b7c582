"""New studies on top of earlier ones, made by hand with `tests.report.studies.Builder`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.core.paths import StudyPaths
from harness.data.splits.splits import read_split
from harness.search.definition.definition import StudyDefinition, resolve_definition
from harness.search.definition.write_definition import write_definition
from harness.search.imports.imports import plan_imports
from harness.space.space import AllowedValues
from tests.report.studies import EVAL_SIZE, FIXED, Builder

SPACE: dict[str, Any] = {
    "parameters": {"loss.dice": {"low": 0.0, "high": 10.0}},
    "fixed": FIXED,
}


def new_definition(paths: StudyPaths, space: Any = SPACE, **options: Any) -> StudyDefinition:
    arguments: dict[str, Any] = {"overrides": {"data.eval_size": EVAL_SIZE}, "fixed": {}} | options
    return resolve_definition(paths, space=space, legal=AllowedValues(), **arguments)


def begin(
    root: Path, earlier: list[Builder], space: Any = SPACE
) -> tuple[StudyPaths, StudyDefinition]:
    """Definition of a study `new` next to the earlier ones, written to disk."""
    paths = StudyPaths(root / "studies" / "new")
    definition = new_definition(paths, space)
    split = read_split(earlier[0].paths.split_csv)
    plans = plan_imports([one.name for one in earlier], paths, definition, split)
    config = definition.config.model_copy(update={"imports": plans})
    definition = replace(definition, config=config)
    write_definition(paths, definition, split)
    return paths, definition
