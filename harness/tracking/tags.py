"""Names of the tags by which runs and experiments of studies are found in MLflow."""

STUDY_TAG = "harness.study_id"  # of an experiment
TRIAL_TAG = "harness.trial"  # "<study>/<number>"
ROLE_TAG = "harness.role"  # study, trial or confirm
CONFIRMATION_TAG = "harness.confirmation"  # id of the confirming study
COPIED_TAG = "harness.copied"  # set last, to the trial's end time: the run is complete
