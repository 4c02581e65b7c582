"""Definition of a study: resolution of its files and options, checks, preparation of its data."""
