"""Segmentation networks: registry, construction, serialization and pretrained weights."""
