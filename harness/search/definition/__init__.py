"""The definition of a study: read, checked, compared with what lies on disk."""
