"""Thinning: models and probabilities are kept for the best trials only, scores for all."""

import bisect
import shutil

from harness.config import StudyConfig
from harness.paths import StudyPaths
from harness.records import TrialRecord, read_records


class Keeper:
    """Knows the best trials of a study and deletes what no report will need.

    Args:
        paths: the study's folder; the trials that have ended already are read from it.
        config: its definition; `budget.keep` is how many trials keep models and probabilities.
    """

    def __init__(self, paths: StudyPaths, config: StudyConfig) -> None:
        self._paths = paths
        self._keep = config.budget.keep
        self._sign = 1.0 if config.objective.direction == "minimize" else -1.0
        self._ranked: list[TrialRecord] = []  # our own, the best first, no more than are kept
        self._imported: list[TrialRecord] = []
        for record in read_records(paths):
            if record.state != "running":
                self.add(record)

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial, imported ones among them; of equals the earlier one."""
        return min([*self._ranked[:1], *self._imported], key=self._order, default=None)

    def add(self, record: TrialRecord) -> None:
        """Take in a trial that has ended, and thin it or the one it displaces."""
        for checkpoint in self._paths.trial(record.number).root.glob("checkpoint*"):
            checkpoint.unlink()
        if record.state != "complete" or record.value is None:
            return self._thin(record)
        if record.imported is not None:  # it came without a model, and must displace none
            self._imported.append(record)
            return None
        bisect.insort(self._ranked, record, key=self._order)
        for displaced in self._ranked[self._keep :]:
            self._thin(displaced)
        del self._ranked[self._keep :]  # they are asked for no more
        return None

    def _order(self, record: TrialRecord) -> tuple[float, int]:
        return self._sign * (record.value or 0.0), record.number

    def _thin(self, record: TrialRecord) -> None:
        trial = self._paths.trial(record.number)
        shutil.rmtree(trial.model, ignore_errors=True)
        shutil.rmtree(trial.probabilities, ignore_errors=True)
