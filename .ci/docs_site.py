"""Hooks of mkdocs: pages from outside docs/, the notebook, and references made from the code.

The pages are written to be read as files, so their links name files; here those that leave docs/
are turned into links to the pages of the site.
"""

import json
import posixpath
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
import typer
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

import harness
from harness.cli.app import COMMANDS, build_app
from harness.cli.config import TITLES
from harness.space.docs.documentation import document_settings

ROOT = Path(__file__).resolve().parents[1]
# Files of the repository that are pages of the site, and their paths there.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
    "studies/README.md": "study-folder.md",
} | {
    f"studies/{page.parent.name}/FINDINGS.md": f"findings/{page.parent.name}.md"
    for page in sorted((ROOT / "studies").glob("*/FINDINGS.md"))
}
EXAMPLE = re.compile(r"^Example:\n((?:    .*(?:\n|\Z))+)", re.MULTILINE)
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
# Functions take these as keyword arguments, so their pages describe them as well.
OPTIONS = (
    "harness.api.confirm.ConfirmOptions",
    "harness.api.study.HeldOutTestOptions",
    "harness.api.predict.PredictorOptions",
    "harness.api.export.ExportOptions",
)


class ExampleCode(griffe.Extension):
    """Marks the code of `Example:` in docstrings as Python; griffe takes it for prose."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object after its module was read."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(fenced, obj.docstring.value)


def fenced(match: re.Match[str]) -> str:
    """Put the code of an example into a block."""
    code = textwrap.indent(f"```python\n{textwrap.dedent(match[1])}\n```", "    ")
    return f"Example:\n{code}\n"


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, and take out what is shown in another form."""
    pages = {site: (ROOT / path).read_text(encoding="utf-8") for path, site in OUTSIDE.items()}
    pages["reference/command-line.md"] = command_line_page()
    pages["reference/settings.md"] = settings_page()
    pages["reference/python.md"] = python_page()
    for notebook in sorted((ROOT / "docs").glob("*.ipynb")):
        pages[f"{notebook.stem}.md"] = notebook_page(notebook)
    for site, text in pages.items():
        files.append(File.generated(config, site, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    site = page.file.src_uri
    if site == "index.md":  # the navigation beside it would hold this page alone
        page.meta["hide"] = ["navigation"]
    path = next((path for path, name in OUTSIDE.items() if name == site), f"docs/{site}")
    return rewrite_links(markdown, path, site)


def rewrite_links(markdown: str, path: str, site: str) -> str:
    """Rewrite the relative links of a page.

    Args:
        path: file of the page in the repository; its links are relative to it.
        site: path of the page in the site.
    """

    def rewritten(match: re.Match[str]) -> str:
        link = match[2]
        if "://" in link or link.startswith("mailto:"):
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
        target = OUTSIDE.get(target, target.removeprefix("docs/"))
        relative = posixpath.relpath(target, posixpath.dirname(site) or ".")
        return f"{match[1]}{relative}{match[3]}"

    return LINK.sub(rewritten, markdown)


def command_line_page() -> str:
    """Describe every command with its arguments and options."""
    parts = [
        "# Command line\n\nEvery command takes `-h` or `--help`, and `--debug` for a traceback.\n\n"
    ]
    for name in COMMANDS:
        group: Any = typer.main.get_command(build_app(name))
        command = group.commands[name]
        context = typer.Context(command, info_name=name)
        text = get_docs_for_click(
            obj=command, ctx=context, indent=1, name=name, call_prefix="harness"
        )
        parts.append(re.sub(r"^Example: (harness .+)$", r"    \1", text, flags=re.MULTILINE))
    return "".join(parts)


def settings_page() -> str:
    """Describe every setting of a space, a study and a trial, as `harness config` does."""
    lines = ["# Settings", "", "`harness config` prints the same.", ""]
    for kind, title in TITLES.items():
        lines += [f"## {title}", "", "| setting | takes | default | meaning |", "|---|---|---|---|"]
        for setting in document_settings(kind):
            meaning = " ".join(
                filter(None, (setting.meaning, setting.acts and f"Acts: {setting.acts}"))
            )
            cells = (f"`{setting.key}`", setting.takes, setting.default, meaning)
            lines.append(f"| {' | '.join(map(table_cell, cells))} |")
        lines.append("")
    return "\n".join(lines)


def table_cell(text: str) -> str:
    """Escape the characters that end a cell of a table or start a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def python_page() -> str:
    """Name the public objects; mkdocstrings puts signature and docstring there."""
    objects = [f"harness.api.{name}" for name in sorted(harness.__all__)]
    return "# Python\n\n" + "\n".join(f"::: {name}\n" for name in (*objects, *OPTIONS))


def notebook_page(path: Path) -> str:
    """Show a notebook as a page: texts, code, and what the code has printed."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    link = f"\n*This page is a notebook: [{path.name}]({path.name}).*\n"
    parts = [part for cell in cells for part in cell_parts(cell)]
    return "\n".join([parts[0], link, *parts[1:]])


def cell_parts(cell: dict[str, Any]) -> Iterator[str]:
    """Yield the source of a cell and its textual outputs as Markdown."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield f"{source}\n"
        return
    yield f"```python\n{source}\n```\n"
    for output in cell["outputs"]:
        text = output.get("text") or output.get("data", {}).get("text/plain")
        if text:
            yield f"```text\n{''.join(text).rstrip()}\n```\n"
