"""The sections of the report page and its templates."""
