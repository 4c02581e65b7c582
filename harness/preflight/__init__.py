"""Before training: every network that a space can draw, possible or why not."""
