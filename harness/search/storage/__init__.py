"""Optuna's database, rebuilt from the trial folders where it is lost."""
