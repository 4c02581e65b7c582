"""Command `harness check`: print what a check finds."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import api
from harness.cli.arguments import api_arguments, same_workspace
from harness.cli.display import open_progress
from harness.cli.options import (
    SEARCH,
    IgnoreOption,
    LabelOption,
    ObjectiveOption,
    PartsOption,
    SetOption,
    SkipBadOption,
    SpaceOption,
    WorkspaceOption,
    option,
)
from harness.cli.tables import fit_table, make_folding_table, print_ceilings, stdout_console
from harness.core.text import count

if TYPE_CHECKING:
    from harness.preflight.network_table import NetworkTableRow
    from harness.search.definition.check_report import CheckReport

CELL_WIDTH = 16
MAX_TABLES = 12  # a space with more combinations is printed as one list


CheckedDataOption = Annotated[
    str | None,
    option(
        "Folder with images/ and masks/, or name of a data set (kvasir-seg, synthetic).",
        example="--data data/polyps",
        panel=SEARCH,
        default="kvasir-seg if it is there, otherwise the space alone is checked",
        metavar="DATA",
    ),
]
CheckedStudyOption = Annotated[
    str | None,
    option(
        "Check space, data and settings of this study.",
        example="--study encoders",
        panel=SEARCH,
        default="no study",
        metavar="NAME",
    ),
]
JsonOption = Annotated[
    bool, option("Print everything as JSON.", "--json", panel=SEARCH, default="tables")
]


def check(
    space: SpaceOption = None,
    data: CheckedDataOption = None,
    study: CheckedStudyOption = None,
    set_: SetOption = None,
    objective: ObjectiveOption = None,
    skip_bad: SkipBadOption = False,
    parts: PartsOption = None,
    label: LabelOption = None,
    ignore: IgnoreOption = None,
    json_: JsonOption = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Check a study before training: its space, every network in it, weights and data.

    Exit code 2 if `harness run` would refuse to start.

    Example: harness check --space encoders.yaml --data data/polyps
    """
    parameters = locals()  # first of all: exactly the options of the command
    arguments = api_arguments(parameters)
    del arguments["json_"]
    with closing(open_progress()) as progress:
        result = api.check(**arguments, progress=progress)
    if json_:
        # NaN is not JSON, and strict parsers refuse it: better an error here than a broken file.
        typer.echo(json.dumps(result.as_json(), indent=1, allow_nan=False))
    else:
        _print_check(result)
        if result.good and result.data is not None:
            line = f"next: {_run_command(parameters)}{same_workspace(workspace)}"
            stdout_console().print(line, markup=False, soft_wrap=True)
    if not result.good:
        # 2 as for `run`, which would refuse the study: a script can check before it queues a job.
        raise typer.Exit(2)


def _run_command(parameters: Mapping[str, Any]) -> str:
    """`harness run` with the options of this check, each under its name on the command line."""
    words = ["harness", "run"]
    for name in ("space", "study", "data", "set_", "objective", "parts", "label", "ignore"):
        value = parameters[name]
        for item in value if isinstance(value, list) else [] if value is None else [value]:
            words += [f"--{name.rstrip('_')}", str(item)]
    return shlex.join(words + ["--skip-bad"] * parameters["skip_bad"])


def _print_check(result: "CheckReport") -> None:
    """Print the report. Names come from files, so they are escaped: `[red]` is not markup."""
    console = stdout_console()
    groups = _group_entries(result.table.entries)
    # 18: the column of architectures (attention_unet is the longest); 3: a border with padding.
    max_columns = max((console.width - 18) // (CELL_WIDTH + 3), 1)
    blocks = [
        block for title, entries in groups for block in _network_tables(title, entries, max_columns)
    ]
    # Errors stand last, where they are still on the screen after long tables.
    if len(blocks) <= MAX_TABLES:
        for block in blocks:
            console.print(block)
    else:
        console.print(_network_list(result.table.entries, console.width))
    if result.table.impossible:
        console.print(_reasons_table(result.table.impossible))
    if result.weights:
        console.print(_weights_table(result))
    _print_data(result, console)
    console.print(result.table.summary_line(), markup=False)
    for note in result.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    for problem in result.problems:
        console.print(f"error: {problem}", markup=False, soft_wrap=True)


def _group_entries(
    entries: Sequence["NetworkTableRow"],
) -> list[tuple[str, list["NetworkTableRow"]]]:
    """Group the entries that differ only in architecture and encoder, each group with a title."""

    def group_key(entry: "NetworkTableRow") -> tuple[Any, ...]:
        network, drawn = entry.sampled.network, entry.sampled
        weights = drawn.config.model.encoder_weights or ""
        size, options = network.height_width, network.options
        return network.encoder_depth, size, options, drawn.has_single_image_batch, weights

    groups = []
    # groupby joins neighbours only, so the entries are sorted by the same key first.
    for key, group in groupby(sorted(entries, key=group_key), group_key):
        depth, (height, width), options, batch_of_one, weights = key
        option_text = "".join(f", {name} {value}" for name, value in json.loads(options).items())
        single = ", batch of one" if batch_of_one else ""
        size = f"{height} x {width} px{option_text}{single}"
        title = f"depth {depth}, {size}, {weights or 'random'} weights"
        groups.append((title, list(group)))
    return groups


def _network_tables(
    title: str, entries: list["NetworkTableRow"], max_columns: int
) -> Iterator[Table]:
    """Tables of architecture by encoder, as many as the width of the terminal requires."""
    # The pair is unique within a group, as everything else is in the key of the group.
    cells = {(e.sampled.network.arch, e.sampled.network.encoder_name): _cell(e) for e in entries}
    archs = list(dict.fromkeys(arch for arch, _ in cells))
    encoders = list(dict.fromkeys(encoder for _, encoder in cells))
    for start in range(0, len(encoders), max_columns):
        columns = encoders[start : start + max_columns]
        table = Table(title=escape(title), title_style="", title_justify="left")
        table.add_column("arch", no_wrap=True)
        for encoder in columns:
            table.add_column(
                escape(encoder), justify="right", overflow="fold", max_width=CELL_WIDTH
            )
        for arch in archs:
            table.add_row(escape(arch), *(cells.get((arch, encoder), "") for encoder in columns))
        yield table


def _cell(entry: "NetworkTableRow") -> str:
    if entry.reason is not None:
        return f"[red]{entry.reason.kind}[/]"
    return f"{_millions(entry)} {_gflops(entry)}"


def _millions(entry: "NetworkTableRow") -> str:
    n = entry.build_result.n_parameters
    return "" if n is None else f"{n / 1e6:.2f} M"


def _gflops(entry: "NetworkTableRow") -> str:
    return "" if entry.build_result.gflops is None else f"{entry.build_result.gflops:.3g} G"


def _network_list(entries: Sequence["NetworkTableRow"], width: int) -> Table:
    rows = []
    for entry in entries:
        name, reason = entry.sampled.network.name, entry.reason
        possible = ("yes", name) if reason is None else (f"no: {reason.kind}", f"{name}: {reason}")
        rows.append((possible[0], _millions(entry), _gflops(entry), possible[1]))
    columns = ("possible", "parameters", "GFLOPs")
    return fit_table("", columns, rows, width, text="network, and why it is impossible")


def _reasons_table(entries: Sequence["NetworkTableRow"]) -> Table:
    """Table of the reasons, each with the networks that it excludes."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        assert entry.reason is not None
        key = (entry.reason.kind, entry.reason.text)
        network = entry.sampled.network
        name = f"{network.arch} {network.encoder_name} {network.encoder_depth}"
        by_reason.setdefault(key, []).append(name)
    table = make_folding_table("reason", "", "networks (architecture encoder depth)")
    for (kind, text), names in by_reason.items():
        more = f", and {len(names) - 4} more" if len(names) > 4 else ""
        cells = (kind, text, ", ".join(names[:4]) + more)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _weights_table(result: "CheckReport") -> Table:
    table = make_folding_table("weights are", "pretrained weights", "encoder", "licence")
    for row in result.weights:
        why = f": {row.reason}" if row.state == "none" else ""
        cells = (row.state, f"{row.weights}{why}", row.encoder_name, row.licence)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _print_data(result: "CheckReport", console: Console) -> None:
    if result.data is None:
        return
    numbers = result.data.statistics
    line = f"data {result.data.name}: {count(numbers.n_pairs, 'pair')}, {numbers.n_bad} unusable"
    for severity in ("error", "warning"):
        n = result.data.count(severity)
        line += f", {count(n, severity)}"
    if result.source is not None:
        line += f"; all findings: harness data inspect {shlex.quote(result.source)}"
    console.print(line, markup=False, soft_wrap=True)
    if result.data.ceilings is not None:
        from harness.inspection.ceiling_text import loss_sentence  # noqa: PLC0415  # SciPy

        print_ceilings(result.data.ceilings, console)
        if (sentence := loss_sentence(result.data.ceilings)) is not None:
            console.print(f"warning: {sentence}", markup=False, soft_wrap=True)
