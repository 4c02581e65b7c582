"""New studies on top of earlier ones, made by hand with `tests.report.studies.Builder`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.data.splits import read_split
from harness.paths import StudyPaths
from harness.search.definition import Definition, settle, write_definition
from harness.search.importing import plan_imports
from harness.space.schema import Legal
from tests.report.studies import EVAL_SIZE, FIXED, Builder

SPACE: dict[str, Any] = {
    "parameters": {"loss.dice": {"low": 0.0, "high": 10.0}},
    "fixed": FIXED,
}


def new_definition(paths: StudyPaths, space: Any = SPACE, **options: Any) -> Definition:
    arguments: dict[str, Any] = {"asked": {"data.eval_size": EVAL_SIZE}, "fixed": {}} | options
    return settle(paths, space=space, legal=Legal(), **arguments)


def begin(root: Path, earlier: list[Builder], space: Any = SPACE) -> tuple[StudyPaths, Definition]:
    """Study `new` beside the earlier ones, written down as far as its definition."""
    paths = StudyPaths(root / "studies" / "new")
    definition = new_definition(paths, space)
    split = read_split(earlier[0].paths.split_csv)
    plans = plan_imports([one.name for one in earlier], paths, definition, split)
    config = definition.config.model_copy(update={"imports": plans})
    definition = replace(definition, config=config)
    write_definition(paths, definition, split)
    return paths, definition
