"""Copies of the trial folders in MLflow.

The folders are the truth. Each function here looks up what MLflow already has and adds what is
missing, so it can be repeated at any time and never creates a second run or value.

Tree: experiment = study (tag harness.study_id) > run of the study (tag harness.role = study)
> one run per trial (tag harness.trial = <study>/<number>; harness.role is trial, or confirm).

This package imports no mlflow by itself: `fields` and `uri` are read without it.
"""
