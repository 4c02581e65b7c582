"""From YAML, CSV or a dict to a search space, with every problem listed."""
