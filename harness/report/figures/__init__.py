"""The report's figures, each in two steps: rows from a study, then a drawing from rows."""
