"""Repetitions: trials of one configuration on several seeds."""

import json
from collections.abc import Iterable

from harness.core.records import TrialRecord

SEED_KEY = "train.seed"


def config_key(record: TrialRecord) -> str:
    """A text that two trials of a study share if all their settings but `train.seed` are equal.

    What is not searched is the same in every trial of a study, so the searched values decide.
    Conditions follow from the values above them, so absent parameters differ only where others do.
    """
    values = {key: value for key, value in record.params.items() if key != SEED_KEY}
    return json.dumps(values, sort_keys=True)


def first_trial_by_config(records: Iterable[TrialRecord]) -> dict[str, int]:
    """The lowest number of a trial with each configuration, by `config_key`.

    A trial that failed counts: it was the first to be drawn so.
    """
    first: dict[str, int] = {}
    for record in records:
        key = config_key(record)
        first[key] = min(record.number, first.get(key, record.number))
    return first
