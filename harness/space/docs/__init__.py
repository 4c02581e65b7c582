"""Documentation of the settings and a JSON Schema for editors."""
