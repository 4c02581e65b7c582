"""What a study has used of its budget, in all its runs: `gpu_hours` and `stop_after`."""

from harness.config.study import StudyConfig
from harness.core.paths import StudyPaths
from harness.core.plurals import count
from harness.core.records import TrialRecord, read_epochs, read_records


class BudgetUsage:
    """Counts hours of training, and trials since the last improvement.

    Hours are those of all epochs that were finished, summed over trials, whatever device trained
    them; two trials that share a GPU count twice. Imported trials cost nothing here, but an
    improvement must be one on them too.

    Args:
        paths: the study's folder; what was used before is read from it.
        config: its definition, with the budget.
    """

    def __init__(self, paths: StudyPaths, config: StudyConfig) -> None:
        self._budget, self._study_yaml = config.budget, paths.study_yaml
        self._objective = config.objective
        self._seconds: dict[int, dict[int, float]] = {}  # trial -> epoch -> seconds
        self._spent_s = 0.0
        self._best: float | None = None
        self._n_since_best = 0
        records = read_records(paths)
        for record in sorted(records, key=lambda r: (r.imported is None, r.ended or "", r.number)):
            if record.imported is None and self._budget.gpu_hours is not None:
                for line in read_epochs(paths.trial(record.number)):
                    self.add_epoch(record.number, line)
            if record.state != "running":
                self.add_trial(record)

    @property
    def hours(self) -> float:
        """Hours of training so far."""
        return self._spent_s / 3600

    def add_epoch(self, number: int, metrics: dict[str, float]) -> None:
        """An epoch is done; one that is repeated after a kill counts once."""
        epochs, epoch = self._seconds.setdefault(number, {}), int(metrics["epoch"])
        seconds = metrics.get("seconds", 0.0)
        self._spent_s += seconds - epochs.get(epoch, 0.0)
        epochs[epoch] = seconds

    def add_trial(self, record: TrialRecord) -> None:
        """A trial has ended. One that failed is no evidence that nothing improves."""
        self._seconds.pop(record.number, None)  # never reported again
        if (
            record.state == "complete"
            and record.value is not None
            and (self._best is None or self._objective.better(record.value, self._best))
        ):
            self._best, self._n_since_best = record.value, 0
            return
        if record.state in ("complete", "pruned") and record.imported is None:
            self._n_since_best += 1

    def hours_message(self) -> str | None:
        """A line for the user once they are."""
        limit = self._budget.gpu_hours
        if limit is None or self.hours < limit:
            return None
        return (
            f"budget.gpu_hours: {limit:g} are spent ({self.hours:.2f}); "
            f"raise it in {self._study_yaml} to go on"
        )

    def stagnation_message(self) -> str | None:
        """A line for the user once so many trials have not improved on the best."""
        limit = self._budget.stop_after
        if limit is None or self._best is None or self._n_since_best < limit:
            return None
        return (
            f"budget.stop_after: {count(self._n_since_best, 'trial')} without improvement; "
            f"raise it in {self._study_yaml} to go on"
        )
