"""Read and write a strict subset of YAML 1.2, with the line of every key.

`1e-4` is a number and `no` is text, unlike in PyYAML, which implements YAML 1.1. Anchors, aliases
and tags are refused, and repeated keys too, of which PyYAML silently uses the last.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.reader import ReaderError

from harness.core.errors import ConfigError

# A space or a study has some kilobytes. PyYAML is recursive, so depth is bounded as well.
MAX_BYTES = 1_000_000
MAX_DEPTH = 20
YamlPath = tuple[str | int, ...]

# The core schema of YAML 1.2.2, section 10.3.2.
_NULL = re.compile(r"null|Null|NULL|~|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")


@dataclass(frozen=True)
class YamlDocument:
    """Content of a YAML text with the line of every key.

    Attributes:
        value: Plain dicts (keys are text), lists, and None, bool, int, float, str.
        problems: Line and message of each refused part of legal YAML, e.g. an alias or a repeated
            key.
        unread_paths: Paths of values that are None because they were refused.
    """

    value: Any
    lines: dict[YamlPath, int]
    problems: tuple[tuple[int, str], ...] = ()
    unread_paths: frozenset[YamlPath] = frozenset()

    def line(self, path: YamlPath) -> int:
        """Line, from 1, of the key or item at `path`, or of its nearest parent."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def load_yaml(text: str, *, source: str) -> YamlDocument:
    """Read one YAML document of at most 1 MB and 20 levels.

    Args:
        source: Name of the text in messages, e.g. its file name.

    Raises:
        ConfigError: all problems, each as `source:line: problem`; after a syntax error nothing
            else is read.
    """
    document = read_yaml_leniently(text, source=source)
    if document.problems:
        raise ConfigError([f"{source}:{line}: {message}" for line, message in document.problems])
    return document


def read_yaml_leniently(text: str, *, source: str) -> YamlDocument:
    """Read as `load_yaml` does, but return problems of legal YAML with the document.

    Raises:
        ConfigError: the text is too large, too deep or not YAML.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ConfigError(f"{source}: larger than {MAX_BYTES // 1_000_000} MB, so it was not read")
    loader: _StrictLoader | None = None
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        raise ConfigError(_syntax_problem(error, source, text)) from None
    finally:
        if loader is not None:
            loader.dispose()
    converter = _NodeConverter({}, list(loader.problems), refused=loader.refused)
    value = None if node is None else converter.value(node, ())
    problems = tuple(sorted(converter.problems, key=lambda problem: problem[0]))
    return YamlDocument(value, converter.lines, problems, frozenset(converter.unread_paths))


def dump_yaml(value: Any) -> str:
    """Write block YAML that `load_yaml` reads back to an equal value, with lists for tuples.

    Floats are written as by `repr`. Text that a reader of YAML 1.1 or 1.2 could understand as a
    number, a date or a boolean is quoted.

    Raises:
        TypeError: a key is not text, or a value is not plain.
    """
    _check_plain(value)
    text: str = yaml.dump(
        value,
        Dumper=_Yaml12Dumper,
        allow_unicode=True,
        default_flow_style=False,
        sort_keys=False,
        width=100_000,
    )
    return text.removesuffix("...\n")


class _StrictLoader(yaml.SafeLoader):
    """Composer of nodes that collects refused parts and continues, so that all are reported."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[tuple[int, str]] = []
        self.nodes: list[yaml.Node | None] = []  # referenced, so that no later node gets their id
        self.refused: set[int] = set()  # ids of nodes whose value is unknown
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            self.get_event()  # type: ignore[no-untyped-call]
            self.problems.append((line, f"*{event.anchor}: aliases are refused; write it out"))
            mark: Any = event.start_mark
            alias = yaml.ScalarNode("", "", mark, mark)
            self.refused.add(id(alias))
            self.nodes.append(alias)
            return alias
        if event.anchor is not None:
            self.problems.append((line, f"&{event.anchor}: anchors are refused; write it out"))
            event.anchor = None
        tagged = event.tag is not None
        if tagged:
            problem = f"{event.tag}: tags are refused; write the value without it"
            self.problems.append((line, problem))
            event.tag = None
        if self._depth == MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"more than {MAX_DEPTH} levels", problem_mark=event.start_mark
            )
        self._depth += 1
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
            if tagged:
                self.refused.add(id(node))
                self.nodes.append(node)
            return node
        finally:
            self._depth -= 1


@dataclass
class _NodeConverter:
    """Converter of nodes to plain values, with the line of each."""

    lines: dict[YamlPath, int]
    problems: list[tuple[int, str]]
    refused: set[int]
    unread_paths: set[YamlPath] = field(default_factory=set)

    def value(self, node: yaml.Node, path: YamlPath) -> Any:
        self.lines.setdefault(path, _line_of(node))
        if id(node) in self.refused:
            self.unread_paths.add(path)
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: YamlPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in mapping:
                first = self.lines[(*path, key)]
                problem = f"{key}: given twice, first in line {first}; keep one"
                self.problems.append((_line_of(key_node), problem))
                continue
            self.lines[(*path, key)] = _line_of(key_node)
            mapping[key] = self.value(value_node, (*path, key))
        return mapping

    def _key(self, node: yaml.Node, path: YamlPath) -> str | None:
        if id(node) in self.refused:
            return None
        key = self._scalar(node, (*path, "")) if isinstance(node, yaml.ScalarNode) else node
        if isinstance(key, str):
            return key
        key_text = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        problem = f"{key_text or 'an empty key'}: a key must be text; put it in quotes"
        self.problems.append((_line_of(node), problem))
        return None

    def _scalar(self, node: yaml.Node, path: YamlPath) -> Any:
        if node.style is not None:  # type: ignore[attr-defined]  # quoted or block style is text
            return node.value
        try:
            return parse_scalar(node.value)
        except ValueError:
            excerpt = node.value if len(node.value) <= 40 else f"{node.value[:40]}…"
            self.problems.append((_line_of(node), f"{excerpt}: the number is too large"))
            self.unread_paths.add(path)
            return None


def parse_scalar(text: str) -> Any:
    """Value of an unquoted scalar. Raises ValueError for a number that is too large."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        # Base 0 would refuse `010`, which YAML 1.2 reads as ten and YAML 1.1 as eight. For more
        # than 4300 digits int raises ValueError (CVE-2020-10735).
        return int(text, 10 if text[1:2] not in ("o", "x") else 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            raise ValueError(text)
        return number
    if _INFINITY.fullmatch(text):
        return -math.inf if text[0] == "-" else math.inf
    return math.nan if _NAN.fullmatch(text) else text


def _line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _syntax_problem(error: yaml.YAMLError, source: str, text: str) -> str:
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, int(error.position)) + 1
        return f"{source}:{line}: not YAML: a character that text may not contain"
    mark = getattr(error, "problem_mark", None)
    location = source if mark is None else f"{source}:{mark.line + 1}"
    parts = [getattr(error, "context", None), getattr(error, "problem", None)]
    return f"{location}: not YAML: {', '.join(p for p in parts if p) or error}"


class _Yaml12Dumper(yaml.SafeDumper):
    """Dumper without anchors that quotes text like the numbers of YAML 1.2."""

    def ignore_aliases(self, data: Any) -> bool:  # PyYAML's signature
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)  # otherwise items of a list are not indented


def _float_node(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    text = repr(value)
    if not math.isfinite(value):
        text = {"inf": ".inf", "-inf": "-.inf"}.get(text, ".nan")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _text_node(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # Line breaks in YAML 1.1 only: PyYAML writes them unescaped in single quotes, where line
    # folding changes them when they are read.
    style = '"' if set("\x85\u2028\u2029") & set(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Yaml12Dumper.add_representer(float, _float_node)
_Yaml12Dumper.add_representer(str, _text_node)
# Text that matches one of these is quoted, and a float such as 1e-05 is written without a tag.
_Yaml12Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT.pattern})$"), list("-+.0123456789")
)
_Yaml12Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(f"^(?:{_INT.pattern})$"), list("-+0123456789")
)


def _check_plain(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"YAML keys must be text, not {key!r}")
            _check_plain(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(item)
    elif value is not None and type(value) not in (bool, int, float, str):
        raise TypeError(f"{value!r} is not a plain value")
