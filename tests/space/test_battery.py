"""More than a hundred broken spaces, each of whose errors is reported with file and line."""

import itertools
import random
import re
from pathlib import Path

import pytest

from harness.cli.app import main
from harness.core.errors import ConfigError
from harness.space.reading.load_space import read_space
from tests.space.spaces import LEGAL

BASE = """\
# a valid space
parameters:
  model.arch: {choices: [UnetPlusPlus, Linknet]}
  model.encoder_name: {choices: [mobilenet_v2, resnet34]}
  model.encoder_depth: {low: 3, high: 5}
  model.options.decoder_attention_type: {choices: [null, scse], when: {model.arch: UnetPlusPlus}}
  optim.lr: {low: 1e-5, high: 1e-2, log: true}
  loss.dice: {low: 0.0, high: 1.0}
  loss.focal: {low: 0.0, high: 1.0}
fixed:
  train.epochs: 20
  data.image_size: 256
  data.fit: pad
forbid:
  - {model.arch: Linknet, model.encoder_depth: 3}
enqueue:
  - {model.arch: Linknet, model.encoder_depth: 4}
  - {optim.lr: 3e-4, loss.dice: 1}
""".splitlines()

# Line to replace, its new text, and the name with which the problem of that line begins.
MUTATIONS: list[tuple[int, str, str]] = [
    (3, "  model.arch: {choices: [UnetPlusPlus, Linknett]}", "model.arch"),
    (3, "  model.arch: {choices: UnetPlusPlus}", "model.arch"),
    (3, "  model.arch: {choices: [UnetPlusPlus, Linknet, Linknet]}", "model.arch"),
    (4, "  model.encoder: {choices: [mobilenet_v2]}", "model.encoder"),
    (4, "  modell.encoder_name: {choices: [mobilenet_v2]}", "modell.encoder_name"),
    (4, "  model.encoder_name: {choices: [3]}", "model.encoder_name"),
    (4, "  model.encoder_name: {choices: []}", "model.encoder_name"),
    (4, "  model.encoder_name: {choices: [resnet34], choices: [vgg11]}", "choices"),
    (4, "  model.encoder_name: &name {choices: [resnet34]}", "&name"),
    (4, "  model.encoder_name: {choices: !!seq [resnet34]}", "tag:yaml.org,2002:seq"),
    (4, "  model.encoder_name: *name", "*name"),
    (4, "  ? [a, b]\n  : 3", "a list or mapping"),
    (5, "  model.encoder_depth: {low: 5, high: 3}", "model.encoder_depth"),
    (5, "  model.encoder_depth: {low: 3}", "model.encoder_depth"),
    (5, "  model.encoder_depth: {low: 3, high: 9}", "model.encoder_depth"),
    (5, "  model.encoder_depth: {low: 3, high: 5, step: 0}", "model.encoder_depth"),
    (5, "  model.encoder_depth: {low: '3', high: 5}", "model.encoder_depth"),
    (5, "  model.encoder_depth: {low: 3.0, high: 5.0}", "model.encoder_depth"),
    (5, "  model.encoder_depth: 5", "model.encoder_depth"),
    (6, "  model.options.decoder_attention_type: {choices: [null, scse]}",
     "model.options.decoder_attention_type"),
    (6, "  model.options.decoder_atention_type: {choices: [null, scse]}",
     "model.options.decoder_atention_type"),
    (6, "  model.options.decoder_attention_type: {choices: [scse], when: {model.arch: FPN}}",
     "model.options.decoder_attention_type"),
    (6, "  model.options.decoder_attention_type: {choices: [scse], when: {model.arc: Linknet}}",
     "model.options.decoder_attention_type"),
    (6, "  model.options.decoder_attention_type: {choices: [scse], when: []}",
     "model.options.decoder_attention_type"),
    (7, "  optim.lr: {low: 1e-2, high: 1e-5, log: true}", "optim.lr"),
    (7, "  optim.lr: {low: .nan, high: 1e-2}", "optim.lr"),
    (7, "  optim.lr: {low: 1e-5, high: .inf}", "optim.lr"),
    (7, "  optim.lr: {low: 0, high: 1e-2, log: true}", "optim.lr"),
    (7, "  optim.lr: {low: 1e-5, high: 1e-2, log: yes}", "optim.lr"),
    (7, "  optim.lr: {low: 1e-5, high: 1e-2, lgo: true}", "optim.lr"),
    (7, "  optim.lr: {low: 1e-5, high: 1e999}", "1e999"),
    (8, "  loss.dise: {low: 0.0, high: 1.0}", "loss.dise"),
    (8, "  loss.dice: {low: 0, high: 1}", "loss.dice"),
    (8, "  loss.dice: {low: -1.0, high: 1.0}", "loss.dice"),
    (9, "  optim.momentum: {low: 0.1, high: 0.9}", "optim.momentum"),
    (9, "  loss.focal: {low: 0.0, high: 1.0}\n  loss.focal: {low: 0.0, high: 2.0}", "loss.focal"),
    (9, "  3: {low: 0.0, high: 1.0}", "3"),
    (11, "  train.epochs: many", "train.epochs"),
    (11, "  train.epochs: '20'", "train.epochs"),
    (11, "  train.epoch: 20", "train.epoch"),
    (11, "  train.epochs: 0", "train.epochs"),
    (12, "  data.image_size: [256, 256, 256]", "data.image_size"),
    (12, "  data.image_size: {n: 256}", "data.image_size"),
    (12, "  optim.lr: 1e-3", "optim.lr"),
    (13, "  data.fit: padd", "data.fit"),
    (13, "  data.fit: no", "data.fit"),
    (13, "  name: sgd\n  optim.name: sgd", "optim.name"),
    (15, "  - {model.arch: Linknet, model.encoder_depth: 7}", "forbid"),
    (15, "  - {model.arch: Linknet, model.encoder_dept: 3}", "forbid"),
    (15, "  - {model.encoder_depth: {low: 4, hihg: 5}}", "forbid"),
    (15, "  - {data.fit: pad}", "forbid"),
    (15, "  - Linknet", "forbid"),
    (17, "  - {model.arch: Linknet, model.encoder_depth: 3}", "enqueue"),
    (17, "  - {model.arch: FPN}", "enqueue"),
    (17, "  - {model.arch: Linknet, decoder_attention_type: scse}", "enqueue"),
    (18, "  - {optim.lr: 3, loss.dice: 1}", "enqueue"),
    (18, "  - {train.epochs: 20}", "enqueue"),
    (18, "  - {}", "enqueue"),
    (18, "  - {optim.lrr: 3e-4}", "optim.lrr"),
    (18, "  - {optim.lr: 3e-4}\nenque: []", "enque"),
    (18, "  - {optim.lr: 3e-4}\nformat: 2", "format"),
]  # fmt: skip
# A problem is reported at the last line that a mutation writes; for these names at the first.
FIRST = ("a list or mapping",)


def mutated(*mutations: tuple[int, str, str]) -> tuple[str, list[tuple[int, str]]]:
    """The space with these lines replaced, and line and name of each expected problem."""
    lines = list(BASE)
    expected = []
    shift = 0
    for line, text, name in sorted(mutations):
        new = text.split("\n")
        lines[line - 1 + shift : line + shift] = new
        extra = len(new) - 1
        expected.append((line + shift + (0 if name in FIRST else extra), name))
        shift += extra
    return "\n".join(lines) + "\n", expected


def places(text: str | bytes, folder: Path) -> list[tuple[int, str]]:
    file = folder / "s.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        read_space(file, legal=LEGAL)
    found = []
    for problem in caught.value.problems:
        match = re.match(rf"{re.escape(str(file))}:(\d+): (.*)", problem)
        assert match is not None, problem
        found.append((int(match[1]), match[2]))
    return found


def assert_named(text: str, expected: list[tuple[int, str]], folder: Path) -> None:
    """Assert that each expected problem is reported at its line, and no other line is reported."""
    found = places(text, folder)
    for line, name in expected:
        assert any(at == line and what.startswith(f"{name}: ") for at, what in found), found
    assert {at for at, _ in found} == {line for line, _ in expected}, found


def test_the_base_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("\n".join(BASE))
    assert len(read_space(file, legal=LEGAL).parameters) == 7


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m[0]}-{m[2]}")
def test_one_error_is_named_at_its_line(mutation: tuple[int, str, str], tmp_path: Path) -> None:
    assert_named(*mutated(mutation), tmp_path)


# Mutations independent of each other: where one line refers to another, an error in one of them
# may hide or change that of the other, so that a pair has no fixed list of problems.
ALONE = [m for m in MUTATIONS if 7 <= m[0] <= 13 and "optim.lr: 1e-3" not in m[1]]
PAIRS = [pair for pair in itertools.combinations(ALONE, 2) if pair[0][0] != pair[1][0]]
ROWS = [m for m in MUTATIONS if m[0] >= 15 and "lr: 3" not in m[1]]
MIXED = [(one, other) for one in ALONE if one[0] > 9 for other in ROWS]
SAMPLE = random.Random(5).sample(PAIRS, 45) + random.Random(6).sample(MIXED, 45)


@pytest.mark.parametrize("pair", SAMPLE, ids=lambda p: "+".join(f"{m[0]}-{m[2]}" for m in p))
def test_two_errors_are_both_named(
    pair: tuple[tuple[int, str, str], tuple[int, str, str]], tmp_path: Path
) -> None:
    assert_named(*mutated(*pair), tmp_path)


def test_there_are_more_than_a_hundred() -> None:
    assert len(MUTATIONS) + len(SAMPLE) + len(WHOLE) >= 150
    assert len({mutated(m)[0] for m in MUTATIONS}) == len(MUTATIONS)


WHOLE: list[tuple[str, bytes, int]] = [
    ("empty", b"", 1),
    ("comment", b"# nothing\n", 1),
    ("binary", bytes(range(256)), 2),
    ("latin", "parameters: {}\n# é\n".encode("latin-1"), 2),
    ("utf16", "parameters: {}".encode("utf-16"), 1),
    ("nul", b"parameters:\n  \x00: 1\n", 2),
    ("escape", b"parameters:\n  a: \x1b[2J\n", 2),
    ("tab", b"parameters:\n\toptim.lr: {low: 1.0, high: 2.0}\n", 2),
    ("deep", b"parameters:\n  optim.lr: " + b"[" * 5000, 2),
    ("deep-map", b"a: {" * 5000, 1),
    ("unclosed", b"parameters: {optim.lr: {low: 1\n", 2),
    ("two", b"parameters: {}\n---\nparameters: {}\n", 2),
    ("list", b"- parameters\n", 1),
    ("word", b"parameters\n", 1),
    ("number", b"3\n", 1),
    ("bomb", b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n", 1),
    ("merge", b"fixed:\n  <<: {train.epochs: 3}\n", 2),
    ("python", b"parameters: !!python/object/apply:os.system [ls]\n", 1),
    ("sections", b"parameters: 3\nfixed: [1]\nforbid: {}\nenqueue: x\n", 1),
    ("colons", b"parameters: a: b\n", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "line"), WHOLE, ids=[case[0] for case in WHOLE])
def test_file_that_is_no_space_at_all(name: str, data: bytes, line: int, tmp_path: Path) -> None:
    assert places(data, tmp_path)[0][0] == line


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(b"a: 1\n" * 10_000_000)
    with pytest.raises(ConfigError, match="larger than 1 MB, so it was not read"):
        read_space(file, legal=LEGAL)


def test_every_wrong_section_is_named(tmp_path: Path) -> None:
    text = "parameters: 3\nfixed: [1]\nforbid: {}\nenqueue: x\nfoo: 1\n"
    assert [line for line, _ in places(text, tmp_path)] == [1, 2, 3, 4, 5]


def test_errors_of_the_text_do_not_hide_those_of_the_space(tmp_path: Path) -> None:
    text = (
        "parameters:\n  optim.lr: &x {low: 1e-4, high: 1e-2}\n  optim.lrr: {value: 1}\nfixed: *x\n"
    )
    assert [line for line, _ in places(text, tmp_path)] == [2, 3, 4]


@pytest.mark.parametrize("pair", SAMPLE[::15], ids=str)
def test_command_leaves_with_2_and_writes_nothing(
    pair: tuple[tuple[int, str, str], tuple[int, str, str]],
    workspace: Path,
    polyps: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text, expected = mutated(*pair)
    (workspace / "s.yaml").write_text(text)
    with pytest.raises(SystemExit) as left:
        main(["run", "--space", "s.yaml", "--data", str(polyps)])
    said = capsys.readouterr().err
    assert left.value.code == 2 and "Traceback" not in said
    for line, name in expected:
        assert f"s.yaml:{line}: {name}: " in said
    assert [path.name for path in workspace.iterdir()] == ["s.yaml"]
