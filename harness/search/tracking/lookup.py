"""What an experiment holds already, found by tags."""

import mlflow
from mlflow.entities import Run

from harness.search.relocation import local_path

TRIAL_TAG, ROLE_TAG = "harness.trial", "harness.role"
CONFIRMATION_TAG = "harness.confirmation"  # the id of the confirming study
COPIED_TAG = "harness.copied"  # set last, to the end of the trial: all of it is there
PAGE = 200  # runs a call


class Runs:
    """The runs of one experiment.

    Args:
        local: their files lie in folders of this machine, which can be looked at.
    """

    def __init__(
        self, client: mlflow.MlflowClient, experiment: str, *, local: bool = False
    ) -> None:
        self._client, self._experiment, self._local = client, experiment, local

    def find(self, wanted: str) -> Run | None:
        """The one run that a filter finds; those that a time-out doubled are removed."""
        found = self._client.search_runs([self._experiment], wanted, max_results=PAGE)
        runs = sorted(found, key=lambda run: (-run.info.start_time, run.info.run_id))
        for other in runs[1:]:
            self._client.delete_run(other.info.run_id)
        return runs[0] if runs else None

    def make(
        self, wanted: str, tags: dict[str, str], name: str, start_time: int | None = None
    ) -> Run:
        """A new run that `wanted` finds; made twice where an answer was lost, it is one again."""
        made = self._client.create_run(
            self._experiment, start_time=start_time, tags=tags, run_name=name
        )
        return self.find(wanted) or made

    def remove_others(self, wanted: str, kept: str) -> None:
        """Remove doubles of a run that arrived after it was looked up."""
        for run in self._client.search_runs([self._experiment], wanted, max_results=PAGE):
            if run.info.run_id != kept:
                self._client.delete_run(run.info.run_id)

    def steps(self, run_id: str, metric: str) -> dict[int, int]:
        """The steps of a metric that are there, with their times."""
        history = self._client.get_metric_history(run_id, metric)
        return {one.step: one.timestamp for one in history}

    def _files_are_gone(self, run: Run) -> bool:
        place = local_path(run.info.artifact_uri) if self._local else None
        return place is not None and not place.is_dir()

    def copied(self, study: str, beside: str = "") -> dict[int, tuple[str, str]]:
        """The trials of a study whose runs are whole, with the ids of these and the times of
        their ends.

        Args:
            study: as Optuna knows it.
            beside: a further condition, beginning with AND.
        """
        copied: dict[int, tuple[str, str]] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                f"tags.`{COPIED_TAG}` LIKE '%'{beside}",
                max_results=PAGE,
                page_token=token,
            )
            for run in page:
                of, _, number = run.data.tags.get(TRIAL_TAG, "").rpartition("/")
                if of == study and number.isdecimal() and not self._files_are_gone(run):
                    copied[int(number)] = (run.info.run_id, run.data.tags[COPIED_TAG])
            token = page.token
            if not token:
                return copied
