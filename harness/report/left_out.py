"""Trials that a part of the report leaves out, and why."""

from collections.abc import Collection

from harness.report.tables import StudyTables, ranked_records
from harness.report.wording import among, plural

SCORES = "scores of single images"
PREDICTIONS = "predictions"
_NAMED = 5


def left_out(tables: StudyTables, numbers: Collection[int], what: str) -> str:
    """Which trials kept nothing to go by, and where they are from; "" of none.

    Args:
        numbers: of complete trials; named in the order of the leaderboard.
        what: what they have none of, SCORES or PREDICTIONS.
    """
    named = []
    for record in ranked_records(tables):
        if record.number in numbers:
            origin = "" if record.imported is None else f" (imported from {record.imported})"
            named.append(f"{record.number}{origin}")
    if not named:
        return ""
    more = [f"{len(named) - _NAMED} more"] if len(named) > _NAMED else []
    has, its = ("has", "its") if len(named) == 1 else ("have", "their")
    trials = f"{plural('Trial', len(named))} {among([*named[:_NAMED], *more])}"
    return f"{trials} {has} not kept {its} {what}."
