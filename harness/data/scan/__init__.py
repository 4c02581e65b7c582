"""Measuring every image and mask of a dataset once: duplicates, objects, artefacts."""
