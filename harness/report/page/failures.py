"""Failed trials by cause: how many, what the first of them said, and what helps."""

from typing import Final

from harness.core.records import TrialRecord
from harness.core.text import truncate
from harness.report.tables.sheet_cells import SheetCell, SheetColumn
from harness.report.tables.sheets import ReportSheet
from harness.report.tables.study_tables import StudyTables

REMEDIES: Final = {
    "out_of_memory": "Even one image at a time did not fit into the GPU: lower data.image_size, "
    "or leave the largest networks out of the space.",
    "host_out_of_memory": "Give the machine more memory, or run fewer workers (--workers, "
    "--per-gpu).",
    "shared_memory": "Enlarge /dev/shm (for docker: --shm-size=8g), or run fewer workers.",
    "diverged": "Lower the upper end of optim.lr, or set optim.grad_clip.",
    "bad_data": "harness data inspect names the files; mend them, or leave them out with "
    "--skip-bad.",
    "bad_configuration": "Forbid the combination in the space; harness check finds such before "
    "training.",
    "hung": "The worker's log (worker-<slot>.log) holds the stacks; raise limits.hang_floor_s if "
    "the epochs are merely long.",
    "crashed": "The traceback is in the trial's trial.json; if it is the product's fault, report "
    "it with that file.",
    "disk_full": "Make room; the study then continues by the same command.",
}
_MAX_NUMBERS = 12  # numbers of trials


def failures_sheet(tables: StudyTables) -> ReportSheet:
    """One row for each cause, the most frequent first; equally frequent ones by their first trial.

    Columns: cause, how many trials, which, the first one's message, what helps.
    """
    groups: dict[str, list[TrialRecord]] = {}
    for record in tables.records:
        if record.state == "failed":
            cause = record.failure.cause if record.failure else "unknown"
            groups.setdefault(cause, []).append(record)
    rows = []
    for cause, records in sorted(groups.items(), key=lambda item: -len(item[1])):
        failure = records[0].failure
        message = failure.message if failure else ""
        numbers = ", ".join(str(record.number) for record in records[:_MAX_NUMBERS])
        numbers += ", …" if len(records) > _MAX_NUMBERS else ""
        remedy = REMEDIES.get(cause, "The message and the trial's trial.json say more.")
        rows.append(
            (
                SheetCell(truncate(cause, 60), cause),
                SheetCell(str(len(records)), str(len(records))),
                SheetCell(numbers, str(records[0].number)),
                SheetCell(truncate(message, 300), message, truncate(message, 2000)),
                SheetCell(remedy, remedy),
            )
        )
    return ReportSheet(_FAILURE_COLUMNS, tuple(rows))


_FAILURE_COLUMNS = (
    SheetColumn("cause", "sorted by what has to change", ""),
    SheetColumn("trials", "how many failed so"),
    SheetColumn("which", "their numbers", ""),
    SheetColumn("first message", "the last words of the first of them", "wrap"),
    SheetColumn("what helps", "the remedy", "wrap"),
)
