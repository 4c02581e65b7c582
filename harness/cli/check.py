"""`harness check`."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import api
from harness.cli.display import open_progress
from harness.cli.options import Objective
from harness.cli.run import parse_settings
from harness.cli.tables import fitted_table, folding_table, stdout_console
from harness.wording import count

if TYPE_CHECKING:
    from harness.preflight.verdicts import Entry
    from harness.search.checking import Checked

CELL = 16
MOST_TABLES = 12  # beyond: a list


def check(
    space: Annotated[
        str | None, typer.Option(help="Space file: a path, or a name in search_spaces/.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Folder with images/ and masks/, or a data set's name.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Study whose space, data and settings are checked.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE for every trial; may be repeated."),
    ] = None,
    objective: Objective = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Pairs that cannot be used would be left out.")
    ] = False,
    parts: Annotated[
        Path | None,
        typer.Option(help="Python file with networks, losses or metrics of your own."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Column of a CSV space kept as a tag.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Column of a CSV space left out.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    workspace: Annotated[Path, typer.Option(help="Folder of studies and data.")] = Path(),
) -> None:
    """Find out before training: the space's mistakes, every network in it, weights, the data.

    Exit code 2 where `harness run` would refuse to begin.

    Example: harness check --space encoders.yaml --data data/polyps
    """
    progress = open_progress()
    try:
        found = api.check(
            study,
            space=space,
            data=data,
            fixed=parse_settings(set_ or []),
            objective=objective,
            skip_bad=skip_bad,
            parts=parts,
            label=label or (),
            ignore=ignore or (),
            workspace=workspace,
            progress=progress,
        )
    finally:
        progress.close()
    if json_:
        typer.echo(json.dumps(found.as_json(), indent=1, allow_nan=False))
    else:
        _print(found)
    if not found.good:
        raise typer.Exit(2)


def _print(found: "Checked") -> None:
    """Names come from files: they are escaped, never markup."""
    console = stdout_console()
    groups = _groups(found.table.entries)
    fit = max((console.width - 18) // (CELL + 3), 1)
    blocks = [block for title, entries in groups for block in _blocks(title, entries, fit)]
    if len(blocks) <= MOST_TABLES:
        for block in blocks:
            console.print(block)
    else:
        console.print(_list(found.table.entries, console.width))
    if found.table.impossible:
        console.print(_reasons(found.table.impossible))
    if found.weights:
        console.print(_weights(found))
    _print_data(found, console)
    console.print(found.table.line(), markup=False)
    for note in found.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    for problem in found.problems:
        console.print(f"error: {problem}", markup=False, soft_wrap=True)


def _groups(entries: Sequence["Entry"]) -> list[tuple[str, list["Entry"]]]:
    """The entries by what architecture and encoder do not say."""

    def rest(entry: "Entry") -> tuple[Any, ...]:
        network, drawn = entry.drawn.network, entry.drawn
        weights = drawn.config.model.encoder_weights or ""
        size, options = network.height_width, network.options
        return network.encoder_depth, size, options, drawn.alone, weights

    groups = []
    for key, group in groupby(sorted(entries, key=rest), rest):
        depth, (height, width), options, alone, weights = key
        title = f"depth {depth}, {height} x {width} px"
        shown = "".join(f", {name} {value}" for name, value in json.loads(options).items())
        title += f"{shown}{', batch of one' if alone else ''}, {weights or 'random'} weights"
        groups.append((title, list(group)))
    return groups


def _blocks(title: str, entries: list["Entry"], fit: int) -> Iterator[Table]:
    """Architecture by encoder, as many tables as the width asks for."""
    cells = {(e.drawn.network.arch, e.drawn.network.encoder_name): _cell(e) for e in entries}
    archs = list(dict.fromkeys(arch for arch, _ in cells))
    encoders = list(dict.fromkeys(encoder for _, encoder in cells))
    for start in range(0, len(encoders), fit):
        columns = encoders[start : start + fit]
        table = Table(title=escape(title), title_style="", title_justify="left")
        table.add_column("arch", no_wrap=True)
        for encoder in columns:
            table.add_column(escape(encoder), justify="right", overflow="fold", max_width=CELL)
        for arch in archs:
            table.add_row(escape(arch), *(cells.get((arch, encoder), "") for encoder in columns))
        yield table


def _cell(entry: "Entry") -> str:
    if entry.reason is not None:
        return f"[red]{entry.reason.kind}[/]"
    return f"{_millions(entry)} {_gflops(entry)}"


def _millions(entry: "Entry") -> str:
    n = entry.verdict.parameters
    return "" if n is None else f"{n / 1e6:.2f} M"


def _gflops(entry: "Entry") -> str:
    return "" if entry.verdict.gflops is None else f"{entry.verdict.gflops:.3g} G"


def _list(entries: Sequence["Entry"], width: int) -> Table:
    rows = []
    for entry in entries:
        name, reason = entry.drawn.network.name, entry.reason
        possible = ("yes", name) if reason is None else (f"no: {reason.kind}", f"{name}: {reason}")
        rows.append((possible[0], _millions(entry), _gflops(entry), possible[1]))
    columns = ("possible", "parameters", "GFLOPs")
    return fitted_table("", columns, rows, width, text="network, and why not")


def _reasons(entries: Sequence["Entry"]) -> Table:
    """Each reason once, with the networks it concerns."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        assert entry.reason is not None
        key = (entry.reason.kind, entry.reason.text)
        network = entry.drawn.network
        name = f"{network.arch} {network.encoder_name} {network.encoder_depth}"
        by_reason.setdefault(key, []).append(name)
    table = folding_table("why not", "", "networks (architecture encoder depth)")
    for (kind, text), names in by_reason.items():
        more = f", and {len(names) - 4} more" if len(names) > 4 else ""
        cells = (kind, text, ", ".join(names[:4]) + more)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _weights(found: "Checked") -> Table:
    table = folding_table("weights are", "pretrained weights", "encoder", "licence")
    for one in found.weights:
        why = f": {one.reason}" if one.state == "none" else ""
        cells = (one.state, f"{one.weights}{why}", one.encoder_name, one.licence)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _print_data(found: "Checked", console: Console) -> None:
    if found.data is None:
        return
    numbers = found.data.statistics
    line = f"data {found.data.name}: {count(numbers.n_pairs, 'pair')}, {numbers.n_bad} unusable"
    for severity in ("error", "warning"):
        n = found.data.count(severity)
        line += f", {count(n, severity)}"
    console.print(f"{line}; all findings: harness data inspect", markup=False, soft_wrap=True)
