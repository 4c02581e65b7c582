"""Read a search space from YAML, CSV or a dict, and list every problem."""
