"""The sections of a space, before their contents are read."""

from typing import Any

from harness.errors import nearest
from harness.space.keys import known_keys
from harness.space.parameters import shown
from harness.space.problems import Problems
from harness.space.schema import Legal
from harness.wording import count

_KINDS: dict[str, tuple[type[Any], str]] = {
    "parameters": (dict, "mapping of keys"),
    "fixed": (dict, "mapping of keys"),
    "forbid": (list, "list of mappings"),
    "enqueue": (list, "list of mappings"),
    "rows": (list, "list of mappings"),
    "labels": (list, "list of mappings, one for each row"),
}


def check_sections(document: Any, legal: Legal, problems: Problems) -> None:
    """Note sections that do not exist or are of the wrong kind.

    Raises:
        ConfigError: it is no mapping, so that nothing can be read.
    """
    if not isinstance(document, dict):
        what = "empty" if document is None else shown(document)
        problems.add((), f"a space is a mapping with `parameters:`; this is {what}")
        problems.raise_any()
    for name, (kind, word) in _KINDS.items():
        value = document.get(name)
        if value is not None and not isinstance(value, kind):
            problems.add((name,), f"must be a {word} (got {shown(value)})")
    rows, labels = document.get("rows"), document.get("labels")
    if rows == []:
        problems.add(("rows",), "empty; write one row for each trial, or leave rows out")
    elif rows is None and isinstance(labels, list):
        problems.add(("labels",), "tags of rows, and there are no rows here")
    for name, value in document.items():
        problem = _problem(name, value, legal)
        if problem is not None:
            problems.add((name,), problem)


def section(document: Any, name: str) -> Any:
    """A section of a document, empty where it is absent, null or of the wrong kind."""
    value = document.get(name)
    return value if isinstance(value, _KINDS[name][0]) else _KINDS[name][0]()


def read_labels(document: Any, n_rows: int, problems: Problems) -> list[dict[str, str]]:
    """The labels of a space's rows, one mapping each."""
    labels = section(document, "labels")
    if labels and len(labels) != n_rows:
        problems.add(("labels",), f"{count(len(labels), 'label')} for {count(n_rows, 'row')}")
    for i, label in enumerate(labels):
        texts = isinstance(label, dict) and all(isinstance(v, str) for v in label.values())
        if not texts:
            problems.add(("labels", i), "must be a mapping of names to texts")
    return [label for label in labels if isinstance(label, dict)]


def _problem(name: str, value: Any, legal: Legal) -> str | None:
    if name == "format":
        known = value == 1 and not isinstance(value, bool)
        return None if known else f"this harness reads format 1 (got {shown(value)})"
    if name in _KINDS:
        return None
    if name.rpartition(".")[2] in {key.rpartition(".")[2] for key in known_keys(legal)}:
        return "a setting belongs under parameters: or fixed:"
    return f"no such section{nearest(name, _KINDS)}"
