"""Runs of an experiment: looked up by tag, created if absent.

MLflow has no create-if-absent call. A call that times out may still have created its run, so each
run is looked up by tag again after it was created, and duplicates are removed.
"""

import contextlib
import getpass

import mlflow
from mlflow.entities import Run

from harness.tracking.relocation import local_path
from harness.tracking.tags import COPIED_TAG, TRIAL_TAG

PAGE_SIZE = 200  # runs per call
MAX_TAG_LENGTH = 4000  # characters; MLflow accepts slightly more


class ExperimentRuns:
    """Runs of one experiment.

    Args:
        client: MLflow client of the store.
        experiment: id of the experiment.
        local: True if artifacts are in folders of this machine, so that missing ones are noticed.
    """

    def __init__(
        self, client: mlflow.MlflowClient, experiment: str, *, local: bool = False
    ) -> None:
        self._client, self._experiment, self._is_local = client, experiment, local

    def find(self, run_filter: str) -> Run | None:
        """The run that matches a filter; duplicates from calls that timed out are deleted."""
        matches = self._client.search_runs([self._experiment], run_filter, max_results=PAGE_SIZE)
        runs = sorted(matches, key=lambda run: (-run.info.start_time, run.info.run_id))
        for duplicate in runs[1:]:
            self._client.delete_run(duplicate.info.run_id)
        return runs[0] if runs else None

    def create(
        self, run_filter: str, tags: dict[str, str], name: str, start_time: int | None = None
    ) -> Run:
        """Create a run that matches `run_filter`, and delete a duplicate left by a lost answer."""
        created = self._client.create_run(
            self._experiment, start_time=start_time, tags=_origin_tags() | tags, run_name=name
        )
        return self.find(run_filter) or created

    def remove_duplicates(self, run_filter: str, keep_id: str) -> None:
        """Delete duplicates of a run that appeared after it was looked up."""
        for run in self._client.search_runs([self._experiment], run_filter, max_results=PAGE_SIZE):
            if run.info.run_id != keep_id:
                self._client.delete_run(run.info.run_id)

    def steps(self, run_id: str, metric: str) -> dict[int, int]:
        """Logged steps of a metric, with their times in milliseconds since 1970."""
        history = self._client.get_metric_history(run_id, metric)
        return {entry.step: entry.timestamp for entry in history}

    def _files_missing(self, run: Run) -> bool:
        folder = local_path(run.info.artifact_uri) if self._is_local else None
        return folder is not None and not folder.is_dir()

    def complete_runs(self, study: str, condition: str = "") -> dict[int, tuple[str, str]]:
        """Trials of a study whose runs are complete.

        Args:
            study: name of the study, with the suffix `.confirm` for a confirmation.
            condition: additional filter condition, beginning with AND.

        Returns:
            Run id and end time by trial number.
        """
        complete: dict[int, tuple[str, str]] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                f"tags.`{COPIED_TAG}` LIKE '%'{condition}",
                max_results=PAGE_SIZE,
                page_token=token,
            )
            for run in page:
                run_study, _, number = run.data.tags.get(TRIAL_TAG, "").rpartition("/")
                if run_study == study and number.isdecimal() and not self._files_missing(run):
                    complete[int(number)] = (run.info.run_id, run.data.tags[COPIED_TAG])
            token = page.token
            if not token:
                return complete


def _origin_tags() -> dict[str, str]:
    """Tags of MLflow's columns Source and Created by."""
    tags = {"mlflow.source.name": "harness", "mlflow.source.type": "LOCAL"}
    # A process without an entry in the list of users, as in some containers, has no name.
    with contextlib.suppress(OSError, KeyError):
        tags["mlflow.user"] = getpass.getuser()
    return tags
