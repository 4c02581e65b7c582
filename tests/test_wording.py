"""One and many, and no message that forgets the difference."""

import ast
import re
from pathlib import Path

import pytest

import harness
from harness.wording import be, count, have, plural

PACKAGE = Path(harness.__file__).parent


@pytest.mark.parametrize(
    ("n", "noun", "words"),
    [
        (1, "thread", "1 thread"),
        (2, "thread", "2 threads"),
        (0, "trial", "0 trials"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
        (2, "copy", "2 copies"),
        (2, "key", "2 keys"),
        (2, "batch", "2 batches"),
        (2, "epoch", "2 epochs"),
        (1, "validation image", "1 validation image"),
    ],
)
def test_one_is_singular_and_any_other_number_plural(n: int, noun: str, words: str) -> None:
    assert count(n, noun) == words
    assert plural(noun, n) == words.partition(" ")[2]


def test_verbs_follow_the_number() -> None:
    assert [be(n) for n in (0, 1, 2)] == ["are", "is", "are"]
    assert [have(n) for n in (0, 1, 2)] == ["have", "has", "have"]


PHRASES = re.compile(r"^ (threads|workers|configurations|trainings|pairs)\b")


def test_no_message_counts_these_without_the_helper() -> None:
    """A whole number of things right before their plural: `{len(x)} threads`."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found += [f"{path.name}: {text}" for text in counted(node)]
    assert found == []


def counted(node: ast.JoinedStr) -> list[str]:
    pairs = zip(node.values, node.values[1:], strict=False)
    return [
        f"{ast.unparse(value.value).join('{}')}{match.group(0)}"
        for value, text in pairs
        if isinstance(value, ast.FormattedValue)
        and isinstance(text, ast.Constant)
        and (match := PHRASES.match(str(text.value)))
    ]
