"""Check before trial 0 that the networks of a search space can be built and trained."""
