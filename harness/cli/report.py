"""Command `harness report`: write the report and print the leaderboard."""

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

from rich.console import Console

from harness import api
from harness.cli.arguments import same_workspace
from harness.cli.options import SEARCH, StudyOption, WorkspaceOption, option
from harness.cli.tables import fit_table, stdout_console
from harness.config.progress import short_configuration
from harness.core.records import TrialRecord
from harness.data.splits.splits import read_split
from harness.evaluation.confirm.results import Confirmation
from harness.report.analysis.baseline import compare_with_baseline
from harness.report.analysis.caveats import find_caveats
from harness.report.analysis.noise import estimate_pooled_noise, noise_sentence
from harness.report.page.headline import ConfirmationSummary, next_step
from harness.report.tables.export import ExportFormat, export_leaderboard
from harness.report.tables.study_tables import (
    StudyTables,
    leaderboard,
    ranked_records,
    trials_in_state,
)

OUTPUT = "Output"  # panel of --help
MAX_LEADERBOARD_ROWS = 10


ImagesOption = Annotated[
    bool,
    option("Draw predictions of the best trials.", panel=OUTPUT, default="images are drawn"),
]
BaselineOption = Annotated[
    str | None,
    option(
        "Compare the leading trial with the leading trial of this study.",
        panel=SEARCH,
        default="no comparison",
        example="--baseline earlier",
        metavar="STUDY",
    ),
]
FormatOption = Annotated[
    ExportFormat | None,
    option(
        "Print the leaderboard in this format.",
        "--format",
        panel=OUTPUT,
        default="a table for the terminal",
        example="--format latex",
    ),
]
OpenOption = Annotated[
    bool,
    option(
        "Open report.html in the browser.",
        "--open",
        panel=OUTPUT,
        default="the path is printed",
    ),
]


def report(
    study: StudyOption,
    images: ImagesOption = True,
    baseline: BaselineOption = None,
    format_: FormatOption = None,
    open_: OpenOption = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Write report.html and trials.csv, and print the leaderboard.

    Example: harness report --study encoders --baseline earlier
    """
    opened = api.open_study(study, workspace=workspace)
    path = opened.report(images=images, baseline=baseline)
    # Read once each, as a study may have thousands of trials.
    tables, confirmation = opened.tables, opened.confirmation
    comparison = None
    if baseline is not None:
        comparison = compare_with_baseline(
            tables, api.open_study(baseline, workspace=workspace).tables
        )
    # Only the table goes to standard output, so that it can be redirected into a file.
    if format_ is not None:
        # Not through rich, which would fold lines at the width
        # of the terminal and read `[…]` as markup.
        sys.stdout.write(export_leaderboard(tables, format_, comparison))
    else:
        print_leaderboard(tables, confirmation)
        if comparison is not None:
            Console(highlight=False, soft_wrap=True).print(comparison.sentence, markup=False)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    errors.print(f"report: {path}", markup=False)
    if command := _next_command(opened, tables, confirmation):
        errors.print(f"next: {command}{same_workspace(workspace)}", markup=False)
    if open_:
        # as_uri: a path with spaces or # is not an address.
        webbrowser.open(path.as_uri())


def print_leaderboard(tables: StudyTables, confirmation: Confirmation | None) -> None:
    """Print the complete trials, best first; pruned and failed ones are only counted."""
    name, metric = tables.paths.name, tables.config.objective.metric
    board = leaderboard(tables)
    console = stdout_console()
    if board.empty:
        states = ", ".join(
            f"{len(trials_in_state(tables, state))} {state}" for state in ("pruned", "failed")
        )
        message = f"{name}: no trial is complete yet, so there is nothing to rank ({states})."
        console.print(message, markup=False)
        return
    rows = []
    for row in board.head(MAX_LEADERBOARD_ROWS).to_dict("records"):
        record = tables.record(int(row["number"]))
        numbers = [record.value, record.best.get("best/dice"), record.best.get("best/iou")]
        rows.append(
            (
                *(str(row["rank"]), str(record.number)),
                *("" if number is None else f"{number:.4f}" for number in numbers),
                str(record.best_epoch),
                short_configuration(record.params) + _origin_marks(record),
            )
        )
    title = f"{name}: complete trials, best {metric} first"
    columns = ("rank", "trial", metric, "dice", "iou", "epoch")
    table = fit_table(title, columns, rows, console.width, text="configuration")
    console.print(table)
    # Pruned and failed trials have no rank, but hiding them would make the study look smaller.
    counts = {
        state: len(trials_in_state(tables, state)) for state in ("complete", "pruned", "failed")
    }
    limit_note = (
        f", the best {MAX_LEADERBOARD_ROWS} shown"
        if counts["complete"] > MAX_LEADERBOARD_ROWS
        else ""
    )
    console.print(
        f"{counts['complete']} complete{limit_note}, {counts['pruned']} pruned, "
        f"{counts['failed']} failed{_imported_note(tables)}. {_confirmation_status(confirmation)}",
        markup=False,
    )
    ranked = ranked_records(tables)
    noise = estimate_pooled_noise(tables.records, ranked)
    if noise is not None:
        console.print(noise_sentence(noise, ranked))
    caveats = find_caveats(tables)
    if caveats:
        console.print("Before you believe this:")
    for sentence in caveats:
        console.print(f"- {sentence}", markup=False)


def _confirmation_status(confirmation: Confirmation | None) -> str:
    """State whether the leading trial is confirmed, with the decision."""
    if confirmation is None or confirmation.decision is None:
        return "The first is leading, not confirmed."
    return f"Confirmed: {confirmation.sentence}"


def _next_command(study: api.Study, tables: StudyTables, confirmation: Confirmation | None) -> str:
    """Command that the report names as the next step; "" if none is left."""
    split_csv = study.paths.split_csv
    is_decided = confirmation is not None and confirmation.decision is not None
    summary = ConfirmationSummary(study.looks.count_tests()) if is_decided else None
    split = read_split(split_csv) if split_csv.is_file() else []
    return next_step(tables, split, summary).command


def _origin_marks(record: TrialRecord) -> str:
    repeats = "" if record.repeats is None else f" (repeats #{record.repeats})"
    chance = "" if record.second_chance is None else " (second chance)"
    return repeats + chance + ("" if record.imported is None else f" (from {record.imported})")


def _imported_note(tables: StudyTables) -> str:
    n = sum(record.imported is not None for record in tables.records)
    return f", {n} of them imported" if n else ""
