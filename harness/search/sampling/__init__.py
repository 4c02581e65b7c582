"""Sampling: choice of the next configuration."""
