"""Segmentation networks: which there are, how they are built, where their weights are."""
