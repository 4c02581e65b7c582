"""The documentation site: built without warnings, complete, and without a request to anywhere."""

import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import harness
from harness.cli.app import COMMANDS
from tests.report.browsing import BROWSER, offline_browser, seen_as

pytest.importorskip("material", reason="the extra docs is not installed")
pytestmark = pytest.mark.timeout(1200)  # the build needs ten seconds of a processor
ROOT = Path(__file__).resolve().parents[1]


class References(HTMLParser):
    """Addresses that a page loads by itself, and those that it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.linked.append(values.get("href", ""))
        else:
            self.loaded += [values[name] for name in ("src", "href") if name in values]


@pytest.fixture(scope="module")
def hooks() -> Any:
    spec = spec_from_file_location("docs_site", ROOT / ".ci" / "docs_site.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does; a warning fails the build."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def pages(site: Path) -> dict[Path, References]:
    found = {}
    for path in sorted(site.rglob("*.html")):
        found[path] = References()
        found[path].feed(path.read_text(encoding="utf-8"))
    return found


def test_pages_load_files_of_the_site_alone(site: Path) -> None:
    for page, references in pages(site).items():
        if page.name == "404.html":  # served under any address, so its own ones begin with /
            continue
        local = [unquote(re.split("[?#]", link)[0]) for link in references.loaded]
        assert [link for link in local if not (page.parent / link).exists()] == [], page
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert not [url for style in styles for url in re.findall(r"url\(['\"]?(?:https?:)?//", style)]


def test_links_lead_to_pages_of_the_site_or_to_the_web(site: Path) -> None:
    for page, references in pages(site).items():
        links = [link for link in references.linked if not link.startswith(("https://", "#", "/"))]
        paths = [unquote(link.split("#")[0]) for link in links]
        assert [path for path in paths if not (page.parent / path).exists()] == [], page


def test_every_page_of_docs_is_there(site: Path) -> None:
    expected = {path.stem for path in ROOT.glob("docs/*.md")}
    expected |= {path.stem for path in ROOT.glob("docs/*.ipynb")}
    assert {path.stem for path in site.glob("*.html")} >= expected


def test_command_line_is_described_from_the_code(site: Path) -> None:
    text = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    assert re.findall(r'<h2 id="harness-([a-z-]+)">', text) == list(COMMANDS)
    assert "--storage" in text


def test_public_functions_are_described_from_the_code(site: Path) -> None:
    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert set(re.findall(r'<h2 id="harness\.api\.(\w+)"', text)) >= set(harness.__all__)
    assert "Example:" not in text


@pytest.mark.parametrize(
    ("path", "site_path", "link", "expected"),
    [
        ("docs/data.md", "data.md", "../benchmarks/RESULTS.md#a", "benchmarks.md#a"),
        ("docs/data.md", "data.md", "spaces.md", "spaces.md"),
        ("docs/decisions/0003-x.md", "decisions/0003-x.md", "../../README.md", "../index.md"),
        ("README.md", "index.md", "docs/report.jpg", "report.jpg"),
        ("benchmarks/RESULTS.md", "benchmarks.md", "../docs/metrics.md", "metrics.md"),
        ("README.md", "index.md", "https://example.org/docs/a.md", "https://example.org/docs/a.md"),
    ],
)
def test_links_between_files_become_links_between_pages(
    hooks: Any, path: str, site_path: str, link: str, expected: str
) -> None:
    assert hooks.rewrite_links(f"see [x]({link}).", path, site_path) == f"see [x]({expected})."


def test_a_notebook_becomes_a_page_with_its_outputs(hooks: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(
        '{"cells": [{"cell_type": "markdown", "source": ["# Title\\n", "Text."]},'
        '{"cell_type": "code", "source": "1 + 1", "outputs": [{"data": {"text/plain": ["2"]}}]}]}',
        encoding="utf-8",
    )
    text = hooks.notebook_page(path)
    assert text.startswith("# Title\nText.\n")
    assert "```python\n1 + 1\n```\n\n```text\n2\n```" in text


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site on a port of this machine, as search needs a server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class TestBrowser:
    pytestmark = BROWSER

    def test_search_finds_a_setting_and_nothing_else_is_requested(
        self, address: str, tmp_path: Path
    ) -> None:
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support.ui import WebDriverWait

        with offline_browser(tmp_path, loopback=True) as driver:
            driver.get(f"{address}/index.html")
            field = driver.find_element(By.CSS_SELECTOR, ".md-search__input")
            driver.execute_script("arguments[0].focus()", field)
            field.send_keys("second_chances")
            # One script reads the list: the page replaces its elements while it searches.
            links = """return [...document.querySelectorAll('.md-search-result__link')].some(
                         (link) => link.href.includes('settings.html'))"""
            assert WebDriverWait(driver, 300).until(lambda driver: driver.execute_script(links))
            for page in ("reference/python.html", "statistics.html"):
                driver.get(f"{address}/{page}")
                script = "return performance.getEntriesByType('resource').map((one) => one.name)"
                requested = driver.execute_script(script)
                assert requested and not [url for url in requested if not url.startswith(address)]

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_pages_are_accessible(self, address: str, tmp_path: Path, scheme: str) -> None:
        axe = pytest.importorskip("axe_core_python.selenium")
        with offline_browser(tmp_path, loopback=True) as driver:
            for page in ("index.html", "tutorial.html", "reference/python.html"):
                with seen_as(driver, 1280, 900, scheme):
                    driver.get(f"{address}/{page}")
                    violations = axe.Axe().run(driver)["violations"]
                serious = [
                    (found["id"], node["html"])
                    for found in violations
                    if found["impact"] in ("serious", "critical")
                    for node in found["nodes"]
                ]
                assert serious == [], page
