"""Retention of files: models and probabilities of the best trials only, scores of all."""

import bisect
import shutil
from collections.abc import Sequence

from harness.config.study import StudyConfig
from harness.core.paths import StudyPaths
from harness.core.records import TrialRecord, read_records
from harness.search.run.observers import TrialObserver
from harness.search.run.running_trial import RunningTrial
from harness.search.run.second_chances import MAX_CHANCES, may_have_chance


class ArtifactRetention(TrialObserver):
    """Ranks the trials of a study and deletes the files that no report will need.

    Args:
        paths: the study's folder; the trials that have ended already are read from it.
        config: the study's definition; `budget.keep` trials keep models and probabilities.
    """

    def __init__(self, paths: StudyPaths, config: StudyConfig) -> None:
        self._paths = paths
        self._n_keep = config.budget.keep
        self._objective = config.objective
        self._ranked: list[TrialRecord] = []  # of this study, best first, at most n_keep
        self._imported: list[TrialRecord] = []
        self._n_stopped = MAX_CHANCES if config.budget.second_chances else 0
        self._stopped: list[TrialRecord] = []  # that may have a second chance, the best first
        for record in read_records(paths):
            if record.state != "running":
                self.add_trial(record)

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial, including imported ones; of equal trials the earlier one."""
        return self._objective.best([*self._ranked[:1], *self._imported])

    def trial_ended(self, running: RunningTrial) -> None:
        self.add_trial(running.record)

    def add_trial(self, record: TrialRecord) -> None:
        """Add a trial that has ended, and remove the files of it or of the one it displaces."""
        # A failed trial keeps its last checkpoint until the study is complete: its cause may be
        # repairable, and its epochs were costly. A full disk deletes it earlier.
        if record.state == "failed":
            self._paths.trial(record.number).checkpoint_previous.unlink(missing_ok=True)
            return self._remove_artifacts(record)
        if may_have_chance(record):
            self._keep_stopped(record)
            return self._remove_artifacts(record)
        _remove_checkpoints(self._paths, record)
        if record.state != "complete" or record.value is None:
            return self._remove_artifacts(record)
        if record.imported is not None:  # it has no model here, so it must displace no other
            self._imported.append(record)
            return None
        # Number as second key: of equal values the earlier
        # trial stays, as in every ranking of the study.
        bisect.insort(self._ranked, record, key=self._rank_key)
        for displaced in self._ranked[self._n_keep :]:
            self._remove_artifacts(displaced)
        del self._ranked[self._n_keep :]  # they can never be among the best again
        return None

    def _keep_stopped(self, record: TrialRecord) -> None:
        """Keep the checkpoint of a stopped trial while it is among the most promising."""
        self._paths.trial(record.number).checkpoint_previous.unlink(missing_ok=True)
        bisect.insort(self._stopped, record, key=self._rank_key)
        for displaced in self._stopped[self._n_stopped :]:
            _remove_checkpoints(self._paths, displaced)
        del self._stopped[self._n_stopped :]

    def remove_failed_checkpoints(self) -> None:
        """Remove the checkpoints of failed trials, at the end of the study."""
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
    return _remove_checkpoints_of(paths, ("failed",))


def remove_spare_checkpoints(paths: StudyPaths) -> int:
    """Remove the checkpoints of all trials that have ended, failed and stopped ones.

    Returns:
        The bytes that became free.
    """
    return _remove_checkpoints_of(paths, ("failed", "pruned"))


def _remove_checkpoints_of(paths: StudyPaths, states: Sequence[str]) -> int:
    chosen = [record for record in read_records(paths) if record.state in states]
    return sum(_remove_checkpoints(paths, record) for record in chosen)


def _remove_checkpoints(paths: StudyPaths, record: TrialRecord) -> int:
    n_bytes = 0
    for checkpoint in paths.trial(record.number).root.glob("checkpoint*"):
        n_bytes += checkpoint.stat().st_size
        checkpoint.unlink()
    return n_bytes
