"""Storage: Optuna's database, and its rebuild from the trial folders."""
