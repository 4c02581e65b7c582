"""Pages of HTML that need nothing else: their look, and how they are filled."""

import re
from collections.abc import Callable, Mapping
from importlib.resources import files as resources
from typing import Any, Final

import jinja2

SELF_CONTAINED_POLICY: Final = (
    "base-uri 'none'; form-action 'none'"  # in every page's Content-Security-Policy
)

_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*)")


def render(package: str, filters: Mapping[str, Callable[..., str]], **values: Any) -> str:
    """The page that `page.html.j2` of a package makes of `values`.

    `style` is set to the rules that all pages share and the package's `page.css` after them. Text
    is escaped unless the template says otherwise; a value that is missing is an error. What it
    includes or imports is a file of the package too, by its path from there.
    """
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
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
    """A text file that is installed with a package."""
    return resources(package).joinpath(name).read_text(encoding="utf-8")
