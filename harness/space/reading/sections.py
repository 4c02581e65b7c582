"""Sections of a space document; separate because they need no state of `SpaceReader`.

They are checked before their contents are read.
"""

from typing import Any

from harness.core.errors import suggest_nearest
from harness.core.text import count
from harness.space.keys import known_keys
from harness.space.parameters import format_value
from harness.space.reading.problems import ProblemCollector
from harness.space.space import AllowedValues

_SECTION_TYPES: dict[str, tuple[type[Any], str]] = {
    "parameters": (dict, "mapping of keys"),
    "fixed": (dict, "mapping of keys"),
    "forbid": (list, "list of mappings"),
    "enqueue": (list, "list of mappings"),
    "rows": (list, "list of mappings"),
    "labels": (list, "list of mappings, one for each row"),
}


def check_sections(document: Any, legal: AllowedValues, problems: ProblemCollector) -> None:
    """Note unknown sections and sections of the wrong type.

    Raises:
        ConfigError: the document is not a mapping, so that nothing in it can be read.
    """
    if not isinstance(document, dict):
        content = "empty" if document is None else format_value(document)
        problems.add((), f"a space must be a mapping with `parameters:`; this is {content}")
        problems.raise_any()
    for name, (kind, word) in _SECTION_TYPES.items():
        value = document.get(name)
        if value is not None and not isinstance(value, kind):
            problems.add((name,), f"must be a {word} (got {format_value(value)})")
    rows, labels = document.get("rows"), document.get("labels")
    if rows == []:
        problems.add(("rows",), "is empty; write one row for each trial, or omit rows")
    elif rows is None and isinstance(labels, list):
        problems.add(("labels",), "labels are tags of rows, but this space has no rows")
    for name, value in document.items():
        problem = _section_problem(name, value, legal)
        if problem is not None:
            problems.add((name,), problem)


def get_section(document: Any, name: str) -> Any:
    """A section of a document; empty if it is absent, null or of the wrong type."""
    # `check_sections` has reported a wrong type; the other sections are still read.
    value = document.get(name)
    return value if isinstance(value, _SECTION_TYPES[name][0]) else _SECTION_TYPES[name][0]()


def read_labels(document: Any, n_rows: int, problems: ProblemCollector) -> list[dict[str, str]]:
    """The labels of a space's rows, one mapping for each row."""
    labels = get_section(document, "labels")
    if labels and len(labels) != n_rows:
        problems.add(("labels",), f"{count(len(labels), 'label')} for {count(n_rows, 'row')}")
    for i, label in enumerate(labels):
        is_text_mapping = isinstance(label, dict) and all(
            isinstance(v, str) for v in label.values()
        )
        if not is_text_mapping:
            problems.add(("labels", i), "must be a mapping of names to texts")
    return [label for label in labels if isinstance(label, dict)]


def _section_problem(name: str, value: Any, legal: AllowedValues) -> str | None:
    if name == "format":
        is_supported = value == 1 and not isinstance(value, bool)
        return None if is_supported else f"this harness reads format 1 (got {format_value(value)})"
    if name in _SECTION_TYPES:
        return None
    # A setting at the top level is a common mistake: a missing indent below `parameters:`.
    if name.rpartition(".")[2] in {key.rpartition(".")[2] for key in known_keys(legal)}:
        return "not a section; put settings under parameters: or fixed:"
    return f"unknown section{suggest_nearest(name, _SECTION_TYPES)}"
