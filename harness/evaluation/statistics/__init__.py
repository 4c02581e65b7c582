"""Intervals, paired tests and decisions between configurations."""
