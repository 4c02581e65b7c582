"""Masks for files and folders: `harness predict`."""
