"""Names of the tags by which runs and experiments of studies are found in MLflow."""

STUDY_TAG = "harness.study_id"  # of an experiment
TRIAL_TAG = "harness.trial"  # "<study>/<number>"
ROLE_TAG = "harness.role"  # study, trial or confirm
CONFIRMATION_TAG = "harness.confirmation"  # id of the confirming study
COPIED_TAG = "harness.copied"  # set last, to the trial's end time: the run is complete
NAME_TAG = "harness.study"  # of a study's own run: the name that its entries have
CONFIRMS_TAG = "harness.confirms"  # of a model version: <study>/<number> of the search trial
MODEL_VERSIONS_TAG = "mlflow.modelVersions"  # of a LoggedModel: versions that its page shows
