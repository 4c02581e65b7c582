"""Untrusted text in Markdown: what a renderer makes of it is the text itself."""

import html
import re

import pytest

from harness.deploy.card.markdown import code_block, escape_text, name_text, table

HOSTILE = [
    "a|b.png",
    "<script>alert(1)</script>.png",
    "[click](http://evil.example).png",
    "![x](http://evil.example/p.png)",
    "`code`.png",
    "a``b.png",
    "**bold**_it_.png",
    "www.evil.example/x#.png",
    "https://evil.example",
    "line\nbreak.png",
    "carriage\rreturn.png",
    "tab\tname.png",
    "&lt;b&gt;.png",
    "# heading",
    "\\| backslash \\",
    "--- | ---",
    "$x^2$ ~~gone~~ :smile: @user #1",
    "{{ jinja }} {% raw %}",
    "‮gnp.exe",
]


def shown(text: str) -> str:
    """The text that a reader sees of Markdown without any syntax in it."""
    return html.unescape(text)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_hold_no_syntax_and_are_shown_as_they_are(name: str) -> None:
    text = name_text(name)
    assert not re.search(r"[|<>\[\]`*_\\~$#@{}!\n\r\t‮](?!\d+;)", text)
    assert "www." not in text
    assert "://" not in text
    printable = "".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in name)
    assert shown(text) == printable


def test_plain_names_are_code() -> None:
    assert name_text("images/polyp-0001_b.jpg") == "`images/polyp-0001_b.jpg`"
    assert name_text("two words.png") == "`two words.png`"


def test_names_that_code_would_trim_are_text() -> None:
    assert name_text(" lead.png") == " lead&#46;png"


def test_sentences_stay_readable() -> None:
    assert escape_text("test runs: 2; colon: 1 (size 1-5 %)") == (
        "test runs: 2; colon: 1 (size 1-5 %)"
    )


def test_letters_of_all_languages_stay() -> None:
    assert escape_text("Größe 폴립 ação") == "Größe 폴립 ação"


def test_long_text_is_cut() -> None:
    assert len(escape_text("x" * 5000)) == 200
    assert escape_text("x" * 5000).endswith("…")


def test_table_has_a_cell_for_each_title() -> None:
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
    assert table(("a", "b"), []) == ""
    with pytest.raises(ValueError, match="another number of cells"):
        table(("a", "b"), [("1",)])


def test_fence_is_longer_than_backticks_in_the_text() -> None:
    assert code_block("x: '```'\n", "yaml") == "````yaml\nx: '```'\n````\n"
