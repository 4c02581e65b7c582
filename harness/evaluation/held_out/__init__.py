"""Held-out test: evaluate weights on the test split or further data sets; record each test run."""
