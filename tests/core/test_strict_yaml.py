"""Scalars as YAML 1.2.2 section 10.3.2 lists them; round trips against PyYAML's own reader too."""

import math
import random

import pytest
import yaml

from harness.core.errors import ConfigError
from harness.core.strict_yaml import MAX_BYTES, dump_yaml, load_yaml


def value(text: str) -> object:
    return load_yaml(text, source="f.yaml").value


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_yaml(text, source="f.yaml")
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 0.0001), ("1E5", 100000.0), ("5.", 5.0), (".5", 0.5), ("-1.5e+3", -1500.0),
        ("010", 10), ("+3", 3), ("-7", -7), ("0o17", 15), ("0x1F", 31), ("0", 0),
        ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
        (".inf", math.inf), ("-.Inf", -math.inf),
        ("no", "no"), ("on", "on"), ("y", "y"), ("tRue", "tRue"), ("nULL", "nULL"),
        ("12:30", "12:30"), ("1_000", "1_000"), ("2001-01-01", "2001-01-01"), ("0b11", "0b11"),
        ("1e", "1e"), ("0x", "0x"), ("-0o7", "-0o7"), ("=", "="), ("<<", "<<"), ("nan", "nan"),
        ("'1e-4'", "1e-4"), ('"null"', "null"), ("|-\n 5", "5"), ("'a\\n'", "a\\n"),
    ],
)  # fmt: skip
def test_load_reads_scalars_as_yaml_1_2(text: str, expected: object) -> None:
    read = value(f"k: {text}\n")["k"]
    assert read == expected and type(read) is type(expected)


def test_load_reads_not_a_number() -> None:
    assert math.isnan(value("k: .nan")["k"])


def test_load_knows_the_line_of_keys_and_items() -> None:
    document = load_yaml("# a\nx: {y: 1,\n    z: 2}\nlist:\n  - 1\n\n  - k: 2\n", source="f.yaml")
    assert document.value == {"x": {"y": 1, "z": 2}, "list": [1, {"k": 2}]}
    expected = {
        (): 2, ("x",): 2, ("x", "y"): 2, ("x", "z"): 3,
        ("list",): 4, ("list", 0): 5, ("list", 1): 7, ("list", 1, "k"): 7,
    }  # fmt: skip
    assert {path: document.line(path) for path in expected} == expected


def test_line_of_what_is_absent_is_that_of_its_holder() -> None:
    document = load_yaml("a: 1\nb:\n  c: 2\n", source="f.yaml")
    assert document.line(("b", "nothing", 3)) == 2
    assert document.line(("nowhere",)) == 1


def test_load_names_every_refused_thing_with_its_line() -> None:
    text = "a: &x 1\nb: *x\nc: !!str 3\nc: 4\n1: 2\n? [1, 2]\n: 3\ne: !own {}\nbig: 1e999\n"
    assert problems(text) == [
        "f.yaml:1: &x: anchors are refused; write it out",
        "f.yaml:2: *x: aliases are refused; write it out",
        "f.yaml:3: tag:yaml.org,2002:str: tags are refused; write the value without it",
        "f.yaml:4: c: given twice, first in line 3; keep one",
        "f.yaml:5: 1: a key must be text; put it in quotes",
        "f.yaml:6: a list or mapping: a key must be text; put it in quotes",
        "f.yaml:8: !own: tags are refused; write the value without it",
        "f.yaml:9: 1e999: the number is too large",
    ]


def test_load_refuses_a_merge_by_its_alias() -> None:
    assert problems("base: &b {x: 1}\nmore: {<<: *b}\n") == [
        "f.yaml:1: &b: anchors are refused; write it out",
        "f.yaml:2: *b: aliases are refused; write it out",
    ]


def test_load_finds_a_key_twice_on_every_level() -> None:
    text = "a: {b: 1, b: 2}\nc:\n  - d: 1\n    d: 2\n"
    assert [line.split(": ")[1] for line in problems(text)] == ["b", "d"]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: b: c", "f.yaml:1: not YAML: mapping values are not allowed here"),
        ("a: 1\nb: [1,\n", "f.yaml:3: not YAML: while parsing"),
        ("a:\n\t- b", "f.yaml:2: not YAML: "),
        ("a: 'x", "f.yaml:1: not YAML: while scanning a quoted scalar"),
        ("a: 1\n--- \nb: 2", "f.yaml:2: not YAML: expected a single document"),
        ("a: 1\nb: \x07\n", "f.yaml:2: not YAML: a character that text may not contain"),
        ("a: \ud800", "f.yaml:1: not YAML: a character that text may not contain"),
        ("n: " + "9" * 5000, "f.yaml:1: 9999"),
    ],
)
def test_load_says_where_a_text_is_no_yaml(text: str, start: str) -> None:
    (line,) = problems(text)
    assert line.startswith(start) and len(line) < 200


def test_load_takes_20_levels_and_refuses_21() -> None:
    assert value("[" * 20 + "]" * 20) is not None
    assert problems("[" * 21 + "]" * 21) == ["f.yaml:1: not YAML: more than 20 levels"]
    assert problems("- " * 500 + "x") == ["f.yaml:1: not YAML: more than 20 levels"]


def test_load_takes_a_megabyte_and_refuses_more() -> None:
    assert value("'" + "é" * (MAX_BYTES // 2 - 1) + "'") == "é" * (MAX_BYTES // 2 - 1)
    assert problems("'" + "é" * (MAX_BYTES // 2) + "'") == [
        "f.yaml: larger than 1 MB, so it was not read"
    ]


def test_load_of_nothing_is_none() -> None:
    assert value("") is None and value("# only a comment\n") is None


def test_dump_writes_block_yaml_with_floats_as_repr() -> None:
    assert dump_yaml({"b": 1e-05, "a": [0.1, True, None, {"x": 1}], "e": [], "n": "no"}) == (
        "b: 1e-05\na:\n  - 0.1\n  - true\n  - null\n  - x: 1\ne: []\nn: 'no'\n"
    )


@pytest.mark.parametrize(
    "text",
    ["no", "1e-4", "1e5", "010", "0o17", "0x1F", "12:30", "2001-01-01", "~", "", "null", "True",
     ".inf", "1.", ".5", "-", "- a", "a: b", "# c", "x #y", " lead", "trail ", "two\nlines\n",
     "tab\t", "*a", "&a", "!t", "%d", "@x", "`", "{", "[", "'", '"', "\\", "é→💡", "\x85", "\u2028",
     "\x07", "...", "---", "=", "<<", "long " * 300],
)  # fmt: skip
def test_dump_keeps_text_text(text: str) -> None:
    written = dump_yaml({text: [text]})
    assert value(written) == {text: [text]}
    assert yaml.safe_load(written) == {text: [text]}  # an independent reader, of YAML 1.1


@pytest.mark.parametrize(
    "number", [1e-05, 1e22, 0.1 + 0.2, 5e-324, -0.0, math.inf, -math.inf, 1e16]
)
def test_dump_keeps_every_bit_of_a_float(number: float) -> None:
    read = value(dump_yaml([number]))[0]
    assert read == number and math.copysign(1, read) == math.copysign(1, number)


def test_dump_and_load_agree_on_random_documents() -> None:
    rng = random.Random(3)
    alphabet = "ab1.e-+:#[]{},&*!|>'\"%@` \n\t_0xo~é\x85\u2029"

    def text() -> str:
        return "".join(rng.choice(alphabet) for _ in range(rng.randrange(8)))

    def draw(depth: int) -> object:
        kind = rng.randrange(8 if depth else 6)
        if kind == 6:
            return [draw(depth - 1) for _ in range(rng.randrange(4))]
        if kind == 7:
            return {text(): draw(depth - 1) for _ in range(rng.randrange(4))}
        simple = [
            None,
            rng.random() < 0.5,
            rng.randrange(-99, 99),
            rng.gauss(0, 1e-6),
            text(),
            1e30,
        ]
        return simple[kind]

    for _ in range(300):
        document = draw(4)
        assert value(dump_yaml(document)) == document


def test_dump_writes_one_object_twice_without_an_anchor() -> None:
    shared = [1]
    assert dump_yaml({"a": shared, "b": shared}) == "a:\n  - 1\nb:\n  - 1\n"


@pytest.mark.parametrize(
    ("wrong", "match"), [({1: 2}, "keys must be text"), ([{1}], "not a plain")]
)
def test_dump_refuses_what_load_could_not_give(wrong: object, match: str) -> None:
    with pytest.raises(TypeError, match=match):
        dump_yaml(wrong)
