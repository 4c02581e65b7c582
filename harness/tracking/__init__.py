"""MLflow tracking: copies of the trial folders in an MLflow store.

The folders are the truth. Each function looks up what MLflow already contains and adds what is
missing, so it can be repeated at any time and never creates a second run or value.

Structure: experiment = study (tag harness.study_id) > run of the study (tag harness.role = study)
> one run per trial (tag harness.trial = <study>/<number>; harness.role is trial, or confirm).

Importing this package does not import mlflow, which takes seconds: `fields` and `uri` work
without it.
"""
