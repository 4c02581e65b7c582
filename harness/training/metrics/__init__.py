"""Metrics of validation images."""
