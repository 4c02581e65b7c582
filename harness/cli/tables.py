"""Tables that keep what matters at any width of the terminal."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

WIDTH = 140  # characters, where standard output is no terminal
_BORDER = 3  # characters between two columns
_MORE = 24  # characters that a folded column needs to be read


def stdout_console() -> Console:
    """Standard output, as wide as the terminal, or WIDTH."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


def fitted_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    text: str = "",
) -> Table:
    """A table of the columns that fit, the others folded into the last one, each with its name.

    Args:
        columns: the most important first; what stands in them is never cut.
        rows: a cell for each column, then one for `text` if that is given.
        width: characters of the console.
        text: the title of a last column that may be folded anyway, such as a configuration.
    """
    n = len(columns)
    widths = [
        max([len(name), *(len(row[k]) for row in rows)]) + _BORDER for k, name in enumerate(columns)
    ]
    spare = _MORE + _BORDER if text else 0
    if sum(widths) + spare + 1 > width:
        n = max(1, sum(sum(widths[: k + 1]) + _MORE + _BORDER + 1 <= width for k in range(n)))
    table = Table(title=escape(title), title_style="", title_justify="left")
    for name in columns[:n]:
        table.add_column(escape(name), justify="right", no_wrap=True)
    folded = [*columns[n:], *([text] if text else [])]
    if folded:
        table.add_column(text if n == len(columns) else "more", overflow="fold")
    for row in rows:
        last = [escape(row[-1])] if folded and n == len(columns) else []
        if n < len(columns):
            pairs = zip(folded, row[n:], strict=True)
            last = [escape(", ".join(f"{name} {cell}" for name, cell in pairs if cell))]
        table.add_row(*(escape(cell) for cell in row[:n]), *last)
    return table
