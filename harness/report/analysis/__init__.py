"""Analyses of a study's trials: effects, importances, noise and caveats."""
