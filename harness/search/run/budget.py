"""Use of a study's budget, summed over all its runs: `gpu_hours` and `stop_after`."""

from harness.config.study import StudyConfig
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_epochs, read_records
from harness.core.text import count


class BudgetUsage:
    """Hours of training, and number of trials since the last improvement.

    Hours are the sum over all finished epochs of all trials, on any device; two trials that share a
    GPU count twice. Imported trials cost nothing here, but an improvement must be better than they
    are, too.

    Args:
        paths: the study's folder, from which the use by earlier runs is read.
        config: the study's definition, with the budget.
    """

    def __init__(self, paths: StudyPaths, config: StudyConfig) -> None:
        self._budget, self._study_yaml = config.budget, paths.study_yaml
        self._objective = config.objective
        self._seconds: dict[int, dict[int, float]] = {}  # trial -> epoch -> seconds
        self._spent_s = 0.0
        self._best: float | None = None
        self._n_since_best = 0
        records = read_records(paths)
        # Imported trials first (False sorts before True), then in order of end: the number of
        # trials since the last improvement depends on the order.
        for record in sorted(records, key=lambda r: (r.imported is None, r.ended or "", r.number)):
            # Reading the epoch log of every trial takes long in a
            # large study, so only if the limit needs it.
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
        """Add a finished epoch; one that is repeated after a kill counts once."""
        epochs, epoch = self._seconds.setdefault(number, {}), int(metrics["epoch"])
        seconds = metrics.get("seconds", 0.0)
        self._spent_s += seconds - epochs.get(epoch, 0.0)
        epochs[epoch] = seconds

    def add_trial(self, record: TrialRecord) -> None:
        """Add a trial that has ended. A failed one is no evidence that nothing improves."""
        self._seconds.pop(record.number, None)  # its epochs cannot be reported again
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
        """Message for the user once the hours are used up; None before."""
        limit = self._budget.gpu_hours
        if limit is None or self.hours < limit:
            return None
        return (
            f"budget.gpu_hours: all {limit:g} hours are used ({self.hours:.2f}); "
            f"raise it in {self._study_yaml} to continue"
        )

    def stagnation_message(self) -> str | None:
        """Message for the user once `stop_after` trials brought no improvement; None before."""
        limit = self._budget.stop_after
        # Before the first complete trial there is nothing to
        # improve on, however many trials were pruned.
        if limit is None or self._best is None or self._n_since_best < limit:
            return None
        return (
            f"budget.stop_after: {count(self._n_since_best, 'trial')} without improvement; "
            f"raise it in {self._study_yaml} to continue"
        )
