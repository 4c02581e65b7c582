"""Inspect a dataset: findings, statistics, proposed settings, and a cleaned copy."""
