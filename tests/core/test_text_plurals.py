"""One and many, and no message that forgets the difference."""

import ast
import re
from pathlib import Path

import pytest

import harness
from harness.core.text import count, has_or_have, is_or_are, plural

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
    assert [is_or_are(n) for n in (0, 1, 2)] == ["are", "is", "are"]
    assert [has_or_have(n) for n in (0, 1, 2)] == ["have", "has", "have"]


NOUNS = (
    "attempts|cells|classes|colours|columns|configurations|copies|draws|epochs|files|findings"
    "|folds|images|labels|lines|masks|networks|objects|pairs|parameters|parts|pixels|places"
    "|problems|reasons|rows|seconds|seeds|steps|threads|tests|times|trainings|trials|values"
    "|warnings|weights|workers"
)
WORDS = "different|complete|confirming|further|leading|more|other|test|training|validation"
PHRASES = re.compile(rf"^ (?:(?:{WORDS}|mask|scored) )*(?:{NOUNS})\b")
OF_ALL = re.compile(r"\b(of|of the|of its|than) $")  # `1 of 1 images`: the noun goes with all
COUNTS = re.compile(r"len\(.*\)( [+-] .*)?|n|n_\w+|(\w+\.)*(done|epochs|n_\w+)|total|trials")


def test_no_message_counts_things_without_the_helper() -> None:
    """A count right before a plural, such as `{len(x)} threads`."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found += [f"{path.name}: {text}" for text in counted(node)]
    assert found == []


@pytest.mark.parametrize(
    ("source", "n"),
    [
        ('f"{len(rows)} images"', 1),
        ('f"{n_left} other trials"', 1),
        ('f"{count(n, word)} and {MOST} images"', 0),
        ('f"{n} of {len(rows)} images"', 0),
        ('f"{name} images"', 0),
    ],
)
def test_the_search_sees_counts_and_nothing_else(source: str, n: int) -> None:
    node = ast.parse(source, mode="eval").body
    assert isinstance(node, ast.JoinedStr)
    assert len(counted(node)) == n


def counted(node: ast.JoinedStr) -> list[str]:
    """The counts of a text that stand before a plural."""
    found = []
    before = ["", *(str(getattr(value, "value", "")) for value in node.values)]
    for place, (value, text) in enumerate(zip(node.values, node.values[1:], strict=False)):
        if not isinstance(value, ast.FormattedValue) or not isinstance(text, ast.Constant):
            continue
        if value.format_spec is not None:  # a limit that was exceeded, in thousands
            continue
        source, phrase = ast.unparse(value.value), PHRASES.match(str(text.value))
        if phrase and COUNTS.fullmatch(source) and not OF_ALL.search(before[place]):
            found.append(f"{{{source}}}{phrase.group(0)}")
    return found
