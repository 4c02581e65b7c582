"""Where pruned trials stood when they were cut."""

from dataclasses import dataclass

from harness.report.tables.study_tables import StudyTables, ranked_records


@dataclass(frozen=True)
class PruningGap:
    """One pruned trial at its last epoch.

    Attributes:
        value: the best it had reached.
        gap: how far that is behind the best any complete trial had reached by that epoch; negative
            where it was ahead.
        share_beaten: share of the complete trials that had reached less by that epoch, 0 to 1.
    """

    number: int
    epoch: int
    value: float
    gap: float
    share_beaten: float


def best_by_epoch(tables: StudyTables, epoch: int) -> dict[int, float]:
    """The best value of the objective that each trial had reached by that epoch, by number."""
    metric = tables.config.objective.metric
    if metric not in tables.epochs.columns:
        return {}
    early = tables.epochs[tables.epochs["epoch"] <= epoch].groupby("number")[metric]
    reached = early.min() if tables.minimized else early.max()
    return {int(str(number)): float(value) for number, value in reached.dropna().items()}


def find_pruning_gaps(tables: StudyTables) -> list[PruningGap]:
    """Pruned trials in order of number; [] where no complete trial can be compared with."""
    complete = {record.number for record in ranked_records(tables)}
    epochs_done = tables.trials.set_index("number")["epochs_done"].to_dict()
    pruned = [record.number for record in tables.records if record.state == "pruned"]
    sign = 1.0 if tables.minimized else -1.0
    best_at_epoch = {
        epoch: best_by_epoch(tables, epoch)
        for epoch in {int(epochs_done[number]) for number in pruned}
    }
    gaps = []
    for number in pruned:
        epoch = int(epochs_done[number])
        others = [
            sign * value
            for other_number, value in best_at_epoch[epoch].items()
            if other_number in complete
        ]
        if number in best_at_epoch[epoch] and others:
            value = best_at_epoch[epoch][number]
            share_beaten = sum(other_value > sign * value for other_value in others) / len(others)
            gaps.append(PruningGap(number, epoch, value, sign * value - min(others), share_beaten))
    return gaps
