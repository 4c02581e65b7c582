"""Standalone runner: two files that are copied into each bundle and import nothing of harness."""
