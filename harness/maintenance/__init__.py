"""Maintenance of many studies: list, rename, archive, restore, delete, clean, watch, compare."""
