"""Notes about trials that a part of the report leaves out, with the reason."""

from collections.abc import Collection

from harness.core.text import has_or_have, join_words, plural
from harness.report.tables.study_tables import StudyTables, ranked_records

SCORES = "scores per image"
PREDICTIONS = "predictions"
_MAX_NAMED_TRIALS = 5


def missing_data_note(tables: StudyTables, numbers: Collection[int], data_kind: str) -> str:
    """Sentence about trials without saved scores or predictions, and their origin; "" if empty.

    Args:
        numbers: numbers of complete trials; listed in the order of the leaderboard.
        data_kind: kind of the missing data, SCORES or PREDICTIONS.
    """
    trial_texts = []
    for record in ranked_records(tables):
        if record.number in numbers:
            origin = "" if record.imported is None else f" (imported from {record.imported})"
            trial_texts.append(f"{record.number}{origin}")
    if not trial_texts:
        return ""
    n = len(trial_texts)
    more = [f"{n - _MAX_NAMED_TRIALS} more"] if n > _MAX_NAMED_TRIALS else []
    trials = join_words([*trial_texts[:_MAX_NAMED_TRIALS], *more])
    return f"{plural('Trial', n)} {trials} {has_or_have(n)} no saved {data_kind}."
