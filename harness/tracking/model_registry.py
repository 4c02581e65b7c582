"""The confirmed winner as a version of a registered model: safetensors and JSON, no pickle."""

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from harness.core.paths import StudyPaths
from harness.core.records import read_record
from harness.tracking.fields import ConfirmedModel
from harness.tracking.lookup import CONFIRMATION_TAG, TRIAL_TAG
from harness.tracking.relocation import STUDY_TAG

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
