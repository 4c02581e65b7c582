"""Statistics, confirmation on fresh seeds, and the held-out test."""
