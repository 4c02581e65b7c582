"""Render self-contained HTML pages: one file that contains its styles and loads no other file."""

import re
from collections.abc import Callable, Mapping
from importlib.resources import files as resources
from typing import Any, Final

import jinja2

# Part of every page's Content-Security-Policy. `default-src` does not cover these two directives
# (CSP level 3, section 6.1), so a page has to name them.
SELF_CONTAINED_POLICY: Final = "base-uri 'none'; form-action 'none'"

_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*)")


def render(package: str, filters: Mapping[str, Callable[..., str]], **values: Any) -> str:
    """Render the template `page.html.j2` of a package.

    Args:
        package: dotted name; templates that the page includes are found by their path in it.
        filters: Jinja filters by name, in addition to `split_options`.
        values: variables of the template. `style` is added: the CSS of all pages, then the
            package's `page.css`.

    Raises:
        jinja2.UndefinedError: the template uses a variable that has no value.
    """
    environment = jinja2.Environment(
        autoescape=True,  # names of studies, classes and files are hostile text
        undefined=jinja2.StrictUndefined,  # otherwise a misspelt variable renders as empty text
        loader=jinja2.FunctionLoader(lambda name: read_resource(package, name)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(filters, split_options=split_options)
    style = read_resource("harness.core", "html.css") + read_resource(package, "page.css")
    return environment.get_template("page.html.j2").render(style=style, **values)


def split_options(text: str) -> list[str]:
    """Split a sentence at the names of options; items 1, 3, 5, … are the names, e.g. `--seeds`.

    Browsers may break a line after any hyphen (UAX #14, class HY), so a page puts each name into an
    element with the class `option`, which does not wrap.
    """
    # An element, since a word joiner (U+2060) would be copied into the user's terminal with it.
    return _OPTION.split(text)


def read_resource(package: str, name: str) -> str:
    """Read a text file that is installed with a package."""
    return resources(package).joinpath(name).read_text(encoding="utf-8")
