"""The worker process: one trial after another, and why a trial failed."""
