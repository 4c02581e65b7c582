"""Second chances: the most promising stopped trials continue once all trials have ended.

A pruner compares after few epochs, so it stops some trials that would have been among the best.
The checkpoints of the best of them are kept until the end, and a share of the study's epochs
(`budget.second_chances`) continues them where they were stopped: same number, seed and images.
"""

from collections.abc import Sequence

from harness.config.objective import ObjectiveConfig
from harness.config.study import StudyConfig
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_epochs, read_records, write_record

MAX_CHANCES = 4  # stopped trials whose checkpoints are kept


def reopen_stopped_trials(paths: StudyPaths, config: StudyConfig) -> list[TrialRecord]:
    """Mark the most promising stopped trials as running again in their records.

    The rows of Optuna's database, which cannot be reopened, must then be rebuilt from the folders.

    Returns:
        The new records, the most promising first; [] if none can continue within the share.
    """
    own = [record for record in read_records(paths) if record.imported is None]
    candidates = [
        record
        for record in own
        if may_have_chance(record) and paths.trial(record.number).checkpoint.exists()
    ]
    if not candidates:  # so that no epochs of thousands of trials are read
        return []
    n_epochs = {record.number: len(read_epochs(paths.trial(record.number))) for record in own}
    chosen = select_second_chances(
        own, candidates, n_epochs, config.objective, config.budget.second_chances
    )
    reopened = []
    for record in chosen:
        update = {
            "state": "running",
            "second_chance": n_epochs[record.number],
            "pruned_after": None,
            "ended": None,
        }
        reopened.append(record.model_copy(update=update))
        write_record(paths.trial(record.number), reopened[-1])
    return reopened


def select_second_chances(
    own: Sequence[TrialRecord],
    candidates: Sequence[TrialRecord],
    n_epochs: dict[int, int],
    objective: ObjectiveConfig,
    share: float,
) -> list[TrialRecord]:
    """The candidates with the best values whose remaining epochs fit into the share.

    Args:
        own: trials of the study, without imported ones.
        candidates: stopped trials that can be continued.
        n_epochs: number of trained epochs, by trial.
        share: of all trained epochs, for second chances; those of earlier runs count.
    """
    left = share * sum(n_epochs[record.number] for record in own)
    left -= sum(
        (record.epochs if record.state == "running" else n_epochs[record.number])
        - record.second_chance
        for record in own
        if record.second_chance is not None
    )
    chosen = []
    for record in sorted(candidates, key=lambda r: (objective.sort_key(r.value or 0.0), r.number)):
        cost = record.epochs - n_epochs[record.number]
        if cost <= left:
            left -= cost
            chosen.append(record)
    return chosen


def may_have_chance(record: TrialRecord) -> bool:
    """True for a stopped trial of this study that has had no second chance yet."""
    is_stopped = record.state == "pruned" and record.value is not None
    return is_stopped and record.second_chance is None and record.imported is None
