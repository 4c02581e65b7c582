"""What every page has: the shared look before its own, escaped text, no missing value."""

import importlib
import sys
from pathlib import Path

import jinja2
import pytest

from harness.core import html


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package of a page."""
    folder = tmp_path / "a_page"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "page.css").write_text(".own { color: red; }\n", encoding="utf-8")
    (folder / "page.html.j2").write_text(
        "<style>{{ style | safe }}</style>{{ name | twice }}", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "a_page", raising=False)
    return "a_page"


def test_own_rules_come_after_the_shared_ones(package: str) -> None:
    page = html.render(package, {"twice": lambda text: text + text}, name="é")
    shared = html.read_resource("harness.core", "html.css")
    assert shared.startswith(":root {") and shared.endswith("}\n")
    assert page == f"<style>{shared}.own {{ color: red; }}\n</style>éé"


def test_text_is_escaped(package: str) -> None:
    page = html.render(package, {"twice": lambda text: text + text}, name="<b>&")
    assert page.endswith("</style>&lt;b&gt;&amp;&lt;b&gt;&amp;")


def test_a_missing_value_is_an_error(package: str) -> None:
    with pytest.raises(jinja2.UndefinedError, match="'name' is undefined"):
        html.render(package, {"twice": str})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("No option - none.", ["No option - none."]),
        ("objective (--objective).", ["objective (", "--objective", ")."]),
        ("run --per-gpu 1, --seeds 3", ["run ", "--per-gpu", " 1, ", "--seeds", " 3"]),
        ("study a--b, 3---x and -x", ["study a--b, 3---x and -x"]),
    ],
)
def test_options_are_split_from_a_sentence(text: str, parts: list[str]) -> None:
    assert html.split_options(text) == parts
