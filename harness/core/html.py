"""Pages of HTML that need nothing else: their look, and how they are filled."""

from collections.abc import Callable, Mapping
from importlib.resources import files as resources
from typing import Any, Final

import jinja2

SELF_CONTAINED_POLICY: Final = (
    "base-uri 'none'; form-action 'none'"  # in every page's Content-Security-Policy
)


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
    environment.filters.update(filters)
    style = read_resource("harness.core", "html.css") + read_resource(package, "page.css")
    return environment.get_template("page.html.j2").render(style=style, **values)


def read_resource(package: str, name: str) -> str:
    """A text file that is installed with a package."""
    return resources(package).joinpath(name).read_text(encoding="utf-8")
