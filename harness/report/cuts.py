"""Where pruned trials stood when they were cut."""

from dataclasses import dataclass

from harness.report.tables import StudyTables, ranked_records


@dataclass(frozen=True)
class Cut:
    """One pruned trial at its last epoch.

    Attributes:
        value: the best it had reached.
        gap: how far that is behind the best any complete trial had reached by that epoch; negative
            where it was ahead.
        beaten: share of the complete trials that had reached less by that epoch, 0 to 1.
    """

    number: int
    epoch: int
    value: float
    gap: float
    beaten: float


def best_at(tables: StudyTables, epoch: int) -> dict[int, float]:
    """The best value of the objective that each trial had reached by that epoch, by number."""
    metric = tables.config.objective.metric
    if metric not in tables.epochs.columns:
        return {}
    early = tables.epochs[tables.epochs["epoch"] <= epoch].groupby("number")[metric]
    reached = early.min() if tables.minimized else early.max()
    return {int(str(number)): float(value) for number, value in reached.dropna().items()}


def cuts(tables: StudyTables) -> list[Cut]:
    """Pruned trials in order of number; [] where no complete trial can be compared with."""
    complete = {record.number for record in ranked_records(tables)}
    done = tables.trials.set_index("number")["epochs_done"].to_dict()
    pruned = [record.number for record in tables.records if record.state == "pruned"]
    sign = 1.0 if tables.minimized else -1.0
    at = {epoch: best_at(tables, epoch) for epoch in {int(done[number]) for number in pruned}}
    found = []
    for number in pruned:
        epoch = int(done[number])
        others = [sign * value for other, value in at[epoch].items() if other in complete]
        if number in at[epoch] and others:
            value = at[epoch][number]
            beaten = sum(other > sign * value for other in others) / len(others)
            found.append(Cut(number, epoch, value, sign * value - min(others), beaten))
    return found
