"""Failed trials grouped by cause, with their number, the first error message and a remedy.

The headline takes its advice for a study without a complete trial from the same remedies.
"""

from collections.abc import Sequence
from typing import Final

from harness.core.records import TrialRecord
from harness.core.text import truncate
from harness.report.tables.sheet_cells import SheetCell, SheetColumn, integer_cell
from harness.report.tables.sheets import ReportSheet
from harness.report.tables.study_tables import StudyTables

# Remedies by failure cause. The causes are the values of `failure.cause` in trial.json.
REMEDIES: Final = {
    "out_of_memory": "Even a single image did not fit into GPU memory: lower data.image_size, or "
    "remove the largest networks from the space.",
    "host_out_of_memory": "Give the machine more memory, or run fewer workers (--workers, "
    "--per-gpu).",
    "shared_memory": "Enlarge /dev/shm (for docker: --shm-size=8g), or run fewer workers.",
    "diverged": "Lower the upper end of optim.lr, or set optim.grad_clip.",
    "bad_data": "Run harness data inspect to list the files; repair them, or skip them with "
    "--skip-bad.",
    "bad_configuration": "Exclude the combination in the space; harness check finds such "
    "combinations before training.",
    "hung": "The worker's log (worker-<slot>.log) contains the stack traces; raise "
    "limits.hang_floor_s if the epochs only take long.",
    "crashed": "The traceback is in the trial's trial.json; if it is a bug of the harness, report "
    "it with that file.",
    "disk_full": "Free disk space, then continue the study with the same command.",
}
_MAX_NUMBERS = 12  # trial numbers listed per cause; one cause can fail hundreds of trials


def failures_sheet(tables: StudyTables) -> ReportSheet:
    """One row per cause, the most frequent first; ties in order of their first trial."""
    groups: dict[str, list[TrialRecord]] = {}
    for record in tables.records:
        if record.state == "failed":
            cause = record.failure.cause if record.failure else "unknown"
            groups.setdefault(cause, []).append(record)
    # sorted is stable: causes with equally many trials stay in the order of their first trial.
    by_frequency = sorted(groups.items(), key=lambda item: -len(item[1]))
    rows = tuple(_cause_row(cause, records) for cause, records in by_frequency)
    return ReportSheet(_FAILURE_COLUMNS, rows)


def _cause_row(cause: str, records: Sequence[TrialRecord]) -> tuple[SheetCell, ...]:
    failure = records[0].failure
    message = failure.message if failure else ""
    numbers = ", ".join(str(record.number) for record in records[:_MAX_NUMBERS])
    numbers += ", …" if len(records) > _MAX_NUMBERS else ""
    remedy = REMEDIES.get(cause, "See the message and the trial's trial.json.")
    return (
        SheetCell(truncate(cause, 60), cause),
        integer_cell(len(records)),
        SheetCell(numbers, str(records[0].number)),
        SheetCell(truncate(message, 300), message, truncate(message, 2000)),
        SheetCell(remedy, remedy),
    )


_FAILURE_COLUMNS = (
    SheetColumn("cause", "category of the failure", ""),
    SheetColumn("trials", "number of trials that failed for this cause"),
    SheetColumn("numbers", "of these trials", ""),
    SheetColumn("first message", "error message of the first of these trials", "wrap"),
    SheetColumn("remedy", "action that avoids the failure", "wrap"),
)
