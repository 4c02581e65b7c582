"""Tables that fit the width of the terminal without cutting a cell."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from harness.data.scan.size_ceiling import CeilingTable

# Characters, where standard output is a file or a pipe: rich would take 80 and fold the tables.
WIDTH = 140
_BORDER = 3  # characters between two columns
_FOLDED_WIDTH = 20  # characters; a narrower folded column is hard to read


def stdout_console() -> Console:
    """Console of standard output, as wide as the terminal, else WIDTH characters."""
    # highlight=False: rich would colour numbers and paths in every text.
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


def fit_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    text: str = "",
) -> Table:
    """Build a table of the columns that fit; the others fold into the last one with their names.

    Args:
        columns: titles, the most important first; their cells are never cut. The first column
            names the row and folds where it is longer than a third of the width.
        rows: a cell for each column, then one for `text` if that is given.
        width: characters of the console.
        text: title of a last column that may always fold, such as a configuration.
    """
    n_visible = len(columns)
    widths = [
        max([len(name), *(len(row[k]) for row in rows)]) + _BORDER for k, name in enumerate(columns)
    ]
    max_first_width = max(width // 3, len(columns[0]))
    # A long name of a row folds, so that it does not push all numbers out of the table.
    widths[0] = min(widths[0], max_first_width + _BORDER)
    reserved_width = _FOLDED_WIDTH + _BORDER if text else 0
    if sum(widths) + reserved_width + 1 > width:
        n_visible = max(
            1,
            sum(
                sum(widths[: k + 1]) + _FOLDED_WIDTH + _BORDER + 1 <= width
                for k in range(n_visible)
            ),
        )
    table = Table(title=escape(title) or None, title_style="", title_justify="left")
    for k, name in enumerate(columns[:n_visible]):
        folds = k == 0 and any(len(row[0]) > max_first_width for row in rows)
        table.add_column(
            escape(name),
            justify="right" if all(_is_number(row[k]) for row in rows) else "left",
            # To make a table fit, rich would otherwise fold numbers as well.
            no_wrap=not folds,
            overflow="fold",
            max_width=max_first_width if folds else None,
        )
    folded = [*columns[n_visible:], *([text] if text else [])]
    if folded:
        table.add_column(text if n_visible == len(columns) else "more", overflow="fold")
    for row in rows:
        last = [escape(row[-1])] if folded and n_visible == len(columns) else []
        if n_visible < len(columns):
            pairs = zip(folded, row[n_visible:], strict=True)
            last = [escape(", ".join(f"{name} {cell}" for name, cell in pairs if cell))]
        table.add_row(*(escape(cell) for cell in row[:n_visible]), *last)
    return table


def make_folding_table(*columns: str) -> Table:
    """Build a table of texts: the first column never folds, the others do.

    Cells are markup; escape what comes from files.
    """
    table = Table(title_style="")
    for k, name in enumerate(columns):
        table.add_column(escape(name), no_wrap=k == 0, overflow="fold")
    return table


def print_ceilings(table: "CeilingTable", console: Console) -> None:
    """Print the best metrics at each training size, and where they come from."""
    # SciPy is imported, for which a message about a wrong option should not wait.
    from harness.inspection.ceiling_text import (  # noqa: PLC0415
        CEILING_COLUMNS,
        ceiling_meaning,
        ceiling_rows,
    )

    if table.ceilings:
        title = "best that a network can reach"
        console.print(fit_table(title, CEILING_COLUMNS, ceiling_rows(table), console.width))
        console.print(ceiling_meaning(table), markup=False)


def _is_number(cell: str) -> bool:
    return not cell or cell[0] in "0123456789+-–"
