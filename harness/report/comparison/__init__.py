"""HTML page that compares studies."""
