"""Tables of a study, its CSV and JSON exports."""
