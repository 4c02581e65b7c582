"""JSON Schemas, checked with a validator of the few keywords they use.

The validator is written from the specification of draft 2020-12.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.config import components
from harness.config.study import StudyConfig, TrialConfig
from harness.core import strict_yaml
from harness.space.docs.json_schema import SCHEMA_KINDS, json_schema, trial_schemas
from harness.space.keys import setting_problem
from harness.space.space import AllowedValues
from tests.space.reading.test_load_space import ENCODERS
from tests.space.test_battery import BASE

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = sorted((ROOT / "search_spaces").glob("*.yaml"))
KNOWN = {
    "$schema", "title", "description", "default", "type", "properties", "patternProperties",
    "additionalProperties", "propertyNames", "required", "items", "prefixItems", "minItems",
    "maxItems", "minLength", "maxLength", "enum", "const", "anyOf", "oneOf", "allOf", "not",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minProperties", "pattern",
}  # fmt: skip
TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
    "number": (int, float), "integer": int,
}  # fmt: skip


@cache
def schema_of(kind: Any) -> dict[str, Any]:
    """The schema without components of users, cached because building it takes half a second."""
    return json_schema(kind)


def is_type(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, TYPES[name])


def valid(value: Any, schema: Any) -> bool:
    if isinstance(schema, bool):
        return schema
    assert set(schema) <= KNOWN, set(schema) - KNOWN
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    checks = [
        not kinds or any(is_type(value, kind) for kind in kinds),
        "enum" not in schema or value in schema["enum"],
        "const" not in schema or value == schema["const"],
        all(valid(value, one) for one in schema.get("allOf", [])),
        "anyOf" not in schema or any(valid(value, one) for one in schema["anyOf"]),
        "oneOf" not in schema or sum(valid(value, one) for one in schema["oneOf"]) == 1,
        "not" not in schema or not valid(value, schema["not"]),
    ]
    if is_type(value, "number"):
        checks += [
            value >= schema.get("minimum", value), value <= schema.get("maximum", value),
            "exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"],
            "exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"],
        ]  # fmt: skip
    if isinstance(value, str):
        checks.append(re.search(schema.get("pattern", ""), value) is not None)
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        checks += [valid(*pair) for pair in zip(value, first, strict=False)]
        checks += [valid(item, schema.get("items", True)) for item in value[len(first) :]]
        checks.append(schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1e9))
    if isinstance(value, dict):
        checks += [name in value for name in schema.get("required", [])]
        checks.append(len(value) >= schema.get("minProperties", 0))
        checks += [valid(name, schema.get("propertyNames", True)) for name in value]
        checks += [valid_member(name, item, schema) for name, item in value.items()]
    return all(checks)


def valid_member(name: str, item: Any, schema: dict[str, Any]) -> bool:
    fitting = [schema["properties"][name]] if name in schema.get("properties", {}) else []
    patterns = schema.get("patternProperties", {})
    fitting += [one for pattern, one in patterns.items() if re.search(pattern, name)]
    return all(valid(item, one) for one in fitting or [schema.get("additionalProperties", True)])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_space_is_valid(path: Path) -> None:
    document = strict_yaml.load_yaml(path.read_text(encoding="utf-8"), source=path.name).value
    assert valid(document, schema_of("space"))


@pytest.mark.parametrize("text", [ENCODERS, "\n".join(BASE), "parameters:\nfixed: {epochs: 3}\n"])
def test_space_is_valid(text: str) -> None:
    assert valid(strict_yaml.load_yaml(text, source="").value, schema_of("space"))


@pytest.mark.parametrize(
    "text",
    [
        "parameter: {}", "parameters: 3", "parameters: {optim.lrr: {value: 1}}",
        "parameters: {optim.lr: 3}", "parameters: {optim.lr: {low: 1}}",
        "parameters: {optim.lr: {low: 1, high: 2, choices: [1]}}",
        "parameters: {optim.lr: {choices: [a]}}", "parameters: {optim.lr: {choices: []}}",
        "parameters: {optim.lr: {low: 1, high: 2, lgo: true}}", "fixed: {train.epochs: 0}",
        "fixed: {epochs: many}", "fixed: {fit: strech}", "fixed: {name: sgd, optim.name: sdg}",
        "fixed: {optim.momentum: 1}", "forbid: {}", "forbid: [{fit: {low: x}}]",
        "forbid: [{fit: {}}]", "rows: []", "enqueue: [{optim.lr: -1}]", "format: 2", "[]",
        "parameters: {lr: {value: 1, when: {model.arc: Unet}}}",
    ],
)  # fmt: skip
def test_broken_space_is_invalid(text: str) -> None:
    assert not valid(strict_yaml.load_yaml(text, source="").value, schema_of("space"))


DOCUMENTED = [
    pytest.param(text, id=f"{page.name}-{i}")
    for page in (
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "README.md",
        ROOT / "studies/README.md",
    )
    for i, text in enumerate(
        re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    )
]


@pytest.mark.parametrize("text", DOCUMENTED)
def test_documented_yaml_is_valid(text: str) -> None:
    """`space` for a document with sections that only spaces have, otherwise `study`."""
    document = strict_yaml.load_yaml(text, source="").value
    kind: Any = "space" if {"parameters", "rows", "forbid", "enqueue"} & set(document) else "study"
    assert valid(document, schema_of(kind))


@pytest.mark.parametrize(
    "text",
    [
        "fixed: {model.arch: {from: baselines}, lr: {from: baselines}}",
        "parts: parts.py", "parts: {file: parts.py}", "parts: null",
        "objective: {metric: val/area_error}", "fixed: {loss.edge: 1.0, loss.edge_width: 3}",
        "fixed: {data.image_size: [64, 96], data.augment: mine.yaml}",
        "fixed: {loss.class_weights: balanced, train.patience: null}",
    ],
)  # fmt: skip
def test_study_is_valid(text: str) -> None:
    assert valid(strict_yaml.load_yaml(text, source="").value, schema_of("study"))


@pytest.mark.parametrize(
    "text",
    [
        "fixed: {model.arch: {form: baselines}}", "fixed: {model.arch: {from: 3}}",
        "parts: parts.yaml", "parts: ../parts.py", "objective: {metric: dice}",
        "fixed: {data.image_size: 8}", "fixed: {data.image_size: [64, 9999]}",
        "fixed: {data.augment: strong.py}", "fixed: {loss.class_weights: []}",
        "fixed: {loss.class_weights: [-1, 1]}", "fixed: {loss.1edge: 1}",
    ],
)  # fmt: skip
def test_broken_study_is_invalid(text: str) -> None:
    assert not valid(strict_yaml.load_yaml(text, source="").value, schema_of("study"))


VALUES: list[Any] = [
    None, True, False, 0, 1, 2, 3, 5, 15, 16, 17, 64, 4096, 4097, -1, 0.5, 1.0, 1.5, -0.5, 2**40,
    "", "none", "auto", "imagenet", "ssl", "light", "mine.yaml", "../x.yaml", "adamw", "cosine",
    "bf16", "pad", "x" * 70, "balanced", [], [1], [64], [64, 96], [64, 9999], [0.5, 0.5], [-1, 2],
    ["a"], [None], {}, {"from": "x"}, [True, True], [64.0, 64.0], [[1, 2]],
]  # fmt: skip


@pytest.mark.parametrize("key", trial_schemas())
def test_reader_and_schema_take_the_same_values(key: str) -> None:
    """Names of networks are plain text to both schema and reader here; only libraries know them."""
    schema = trial_schemas()[key]
    schema = {k: v for k, v in schema.items() if k != "pattern" or not key.startswith("model.")}
    for value in VALUES:
        assert (setting_problem(key, value, AllowedValues()) is None) == valid(value, schema), value


def test_defaults_are_valid_study_and_trial() -> None:
    assert valid(StudyConfig().model_dump(mode="json"), schema_of("study"))
    assert valid(TrialConfig().model_dump(mode="json"), schema_of("trial"))
    assert not valid({"objective": {"direction": "up"}}, schema_of("study"))
    assert not valid({"optim": {"lr": 0}}, schema_of("trial"))


@pytest.mark.parametrize("kind", SCHEMA_KINDS)
def test_schema_is_plain_json_of_its_dialect(kind: Any) -> None:
    schema = schema_of(kind)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema


def test_losses_are_those_that_are_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "_COMPONENTS", dict(components._COMPONENTS))

    def edge(logits: Any, target: Any, *, width: int = 3, of: type = int) -> float:
        return 0.0

    assert not valid({"loss": {"edge": 1.0}}, json_schema("trial"))
    components.loss(origin="parts.py")(edge)
    trial, space = json_schema("trial"), json_schema("space")
    assert valid({"loss": {"edge": 1.0, "edge_width": 5, "edge_of": 1}}, trial)
    assert valid(TrialConfig().model_dump(mode="json", exclude={"loss": {"edge_of"}}), trial)
    for wrong in ({"egde": 1.0}, {"dise": 1.0}, {"edge": -1}, {"edge_width": "x"}):
        assert not valid({"loss": wrong}, trial)
    assert valid({"fixed": {"loss.edge": 1, "edge_width": 3}}, space)
    assert not valid({"fixed": {"loss.egde": 1}}, space)
