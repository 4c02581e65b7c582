"""Thinning: models and probabilities are kept for the best trials only, scores for all."""

import bisect
import shutil

from harness.config.study import StudyConfig
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_records
from harness.search.run.observers import TrialObserver
from harness.search.run.trials import RunningTrial


class ArtifactRetention(TrialObserver):
    """Knows the best trials of a study and deletes what no report will need.

    Args:
        paths: the study's folder; the trials that have ended already are read from it.
        config: its definition; `budget.keep` is how many trials keep models and probabilities.
    """

    def __init__(self, paths: StudyPaths, config: StudyConfig) -> None:
        self._paths = paths
        self._n_keep = config.budget.keep
        self._objective = config.objective
        self._ranked: list[TrialRecord] = []  # our own, the best first, no more than are kept
        self._imported: list[TrialRecord] = []
        for record in read_records(paths):
            if record.state != "running":
                self.add_trial(record)

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial, imported ones among them; of equals the earlier one."""
        return self._objective.best([*self._ranked[:1], *self._imported])

    def trial_ended(self, running: RunningTrial) -> None:
        self.add_trial(running.record)

    def add_trial(self, record: TrialRecord) -> None:
        """Take in a trial that has ended, and thin it or the one it displaces."""
        if record.state == "failed":  # why it failed may be mended, so its work stays for a while
            self._paths.trial(record.number).checkpoint_previous.unlink(missing_ok=True)
            return self._remove_artifacts(record)
        _remove_checkpoints(self._paths, record)
        if record.state != "complete" or record.value is None:
            return self._remove_artifacts(record)
        if record.imported is not None:  # it came without a model, and must displace none
            self._imported.append(record)
            return None
        bisect.insort(self._ranked, record, key=self._rank_key)
        for displaced in self._ranked[self._n_keep :]:
            self._remove_artifacts(displaced)
        del self._ranked[self._n_keep :]  # they are asked for no more
        return None

    def remove_failed_checkpoints(self) -> None:
        """Remove the checkpoints of failed trials, when the study is at its end."""
        remove_failed_checkpoints(self._paths)

    def _rank_key(self, record: TrialRecord) -> tuple[float, int]:
        return self._objective.sort_key(record.value or 0.0), record.number

    def _remove_artifacts(self, record: TrialRecord) -> None:
        trial = self._paths.trial(record.number)
        shutil.rmtree(trial.model, ignore_errors=True)
        shutil.rmtree(trial.probabilities, ignore_errors=True)


def remove_failed_checkpoints(paths: StudyPaths) -> int:
    """Remove the checkpoints of a study's failed trials.

    Returns:
        The bytes that became free.
    """
    failed = [record for record in read_records(paths) if record.state == "failed"]
    return sum(_remove_checkpoints(paths, record) for record in failed)


def _remove_checkpoints(paths: StudyPaths, record: TrialRecord) -> int:
    n_bytes = 0
    for checkpoint in paths.trial(record.number).root.glob("checkpoint*"):
        n_bytes += checkpoint.stat().st_size
        checkpoint.unlink()
    return n_bytes
