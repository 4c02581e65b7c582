"""What an experiment holds already, found by tags."""

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from harness.core.paths import StudyPaths
from harness.core.records import read_record
from harness.tracking.fields import ConfirmedModel
from harness.tracking.relocation import STUDY_TAG, local_path

TRIAL_TAG, ROLE_TAG = "harness.trial", "harness.role"
CONFIRMATION_TAG = "harness.confirmation"  # the id of the confirming study
COPIED_TAG = "harness.copied"  # set last, to the end of the trial: all of it is there
PAGE_SIZE = 200  # runs a call


class ExperimentRuns:
    """The runs of one experiment.

    Args:
        local: their files lie in folders of this machine, which can be looked at.
    """

    def __init__(
        self, client: mlflow.MlflowClient, experiment: str, *, local: bool = False
    ) -> None:
        self._client, self._experiment, self._is_local = client, experiment, local

    def find(self, run_filter: str) -> Run | None:
        """The one run that a filter finds; those that a time-out doubled are removed."""
        matches = self._client.search_runs([self._experiment], run_filter, max_results=PAGE_SIZE)
        runs = sorted(matches, key=lambda run: (-run.info.start_time, run.info.run_id))
        for duplicate in runs[1:]:
            self._client.delete_run(duplicate.info.run_id)
        return runs[0] if runs else None

    def create(
        self, run_filter: str, tags: dict[str, str], name: str, start_time: int | None = None
    ) -> Run:
        """A new run that `run_filter` finds; made twice where an answer was lost, it is one
        again.
        """
        created = self._client.create_run(
            self._experiment, start_time=start_time, tags=tags, run_name=name
        )
        return self.find(run_filter) or created

    def remove_duplicates(self, run_filter: str, keep_id: str) -> None:
        """Remove doubles of a run that arrived after it was looked up."""
        for run in self._client.search_runs([self._experiment], run_filter, max_results=PAGE_SIZE):
            if run.info.run_id != keep_id:
                self._client.delete_run(run.info.run_id)

    def steps(self, run_id: str, metric: str) -> dict[int, int]:
        """The steps of a metric that are there, with their times."""
        history = self._client.get_metric_history(run_id, metric)
        return {entry.step: entry.timestamp for entry in history}

    def _files_missing(self, run: Run) -> bool:
        folder = local_path(run.info.artifact_uri) if self._is_local else None
        return folder is not None and not folder.is_dir()

    def complete_runs(self, study: str, condition: str = "") -> dict[int, tuple[str, str]]:
        """The trials of a study whose runs are whole, with the ids of these and the times of
        their ends.

        Args:
            study: as Optuna knows it.
            condition: a further condition, beginning with AND.
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


CHAMPION_ALIAS = "champion"


MODEL_FOLDER = "model"  # among the artifacts of the run


MAX_TAG_LENGTH = 4000  # letters; MLflow takes a few more


_ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"


def register_model(
    client: mlflow.MlflowClient,
    run: Run,
    paths: StudyPaths,
    study_id: str,
    champion: ConfirmedModel,
) -> None:
    """Make the trial's weights the version that `models:/<study>@champion` names.

    A version that is there already is taken again. A registered model of that name which is not
    this study's is left alone: ours is then called `<study>-<first letters of its id>`.

    Args:
        run: of the confirming trial.
        paths: of the confirmation.
        study_id: of the study that is confirmed.
    """
    model = paths.trial(champion.number).model
    if not model.is_dir():
        return
    name = _ensure_registered_model(client, paths.study.name, study_id)
    record = read_record(paths.trial(champion.number).trial_json)
    tags = {
        TRIAL_TAG: f"{paths.name}/{champion.number}",
        CONFIRMATION_TAG: run.data.tags.get(CONFIRMATION_TAG, ""),
        "harness.confirms": f"{paths.study.name}/{champion.search_number}",
        "harness.ended": record.ended or "",
    }
    versions = client.search_model_versions(f"name = '{name}' AND run_id = '{run.info.run_id}'")
    existing = [v for v in versions if v.tags.get("harness.ended") == tags["harness.ended"]]
    if not existing or not client.list_artifacts(run.info.run_id, MODEL_FOLDER):
        client.log_artifacts(run.info.run_id, str(model), MODEL_FOLDER)
    if existing:
        version = existing[0].version
    else:
        version = client.create_model_version(
            name,
            f"{run.info.artifact_uri}/{MODEL_FOLDER}",
            run_id=run.info.run_id,
            tags=tags,
            description=champion.sentence[:MAX_TAG_LENGTH],
        ).version
    client.set_registered_model_alias(name, CHAMPION_ALIAS, str(version))


def _ensure_registered_model(client: mlflow.MlflowClient, study: str, study_id: str) -> str:
    """The name of the study's registered model, made where it is absent."""
    for name in (study, f"{study}-{study_id[:8]}"):
        try:
            client.create_registered_model(name, tags={STUDY_TAG: study_id})
        except MlflowException as error:
            if error.error_code != _ALREADY_EXISTS:
                raise
            if client.get_registered_model(name).tags.get(STUDY_TAG) != study_id:
                continue
        return name
    raise MlflowException(f"registered models {study} and {name} are both another study's")
