"""Trials that a part of the report leaves out, and why."""

from collections.abc import Collection

from harness.core.text import join_words, plural
from harness.report.tables.study_tables import StudyTables, ranked_records

SCORES = "scores of single images"
PREDICTIONS = "predictions"
_MAX_NAMED_TRIALS = 5


def missing_data_note(tables: StudyTables, numbers: Collection[int], data_kind: str) -> str:
    """Which trials kept nothing to go by, and where they are from; "" of none.

    Args:
        numbers: of complete trials; named in the order of the leaderboard.
        data_kind: what they have none of, SCORES or PREDICTIONS.
    """
    trial_texts = []
    for record in ranked_records(tables):
        if record.number in numbers:
            origin = "" if record.imported is None else f" (imported from {record.imported})"
            trial_texts.append(f"{record.number}{origin}")
    if not trial_texts:
        return ""
    more = (
        [f"{len(trial_texts) - _MAX_NAMED_TRIALS} more"]
        if len(trial_texts) > _MAX_NAMED_TRIALS
        else []
    )
    verb, possessive = ("has", "its") if len(trial_texts) == 1 else ("have", "their")
    trials = (
        f"{plural('Trial', len(trial_texts))} "
        f"{join_words([*trial_texts[:_MAX_NAMED_TRIALS], *more])}"
    )
    return f"{trials} {verb} not kept {possessive} {data_kind}."
