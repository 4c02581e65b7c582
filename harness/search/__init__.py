"""Hyperparameter search: study definition, sampling, pruning, Optuna storage, control of trials."""
