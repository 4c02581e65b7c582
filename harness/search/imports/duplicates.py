"""Detection of repeated configurations: trials that differ in their seed only.

Confirmation, report and trial control share it, so it stands alone.
"""

import json
from collections.abc import Iterable

from harness.core.records import TrialRecord

SEED_KEY = "train.seed"


def config_key(record: TrialRecord) -> str:
    """Text that is equal for two trials of a study if all settings but `train.seed` are equal.

    Fixed settings are the same in every trial of a study, so the searched values decide. Whether
    a conditional parameter is present follows from other values, so it needs no entry of its own.
    """
    values = {key: value for key, value in record.params.items() if key != SEED_KEY}
    # Sorted keys, as a resumed or imported trial may list its parameters in another order. JSON
    # keeps 1 and 1.0 and true apart, which are equal as Python values.
    return json.dumps(values, sort_keys=True)


def first_trial_by_config(records: Iterable[TrialRecord]) -> dict[str, int]:
    """Lowest trial number of each configuration, by `config_key`.

    A failed trial counts: it was the first one with its configuration.
    """
    first: dict[str, int] = {}
    for record in records:
        key = config_key(record)
        first[key] = min(record.number, first.get(key, record.number))
    return first
