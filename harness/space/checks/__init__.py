"""Checks of a search space: settings without effect, combinations that cannot be drawn."""
