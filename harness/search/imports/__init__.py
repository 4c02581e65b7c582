"""Trials of earlier studies in a new one."""
