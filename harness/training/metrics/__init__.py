"""Validation: scores of images, metrics, predictions at native size."""
