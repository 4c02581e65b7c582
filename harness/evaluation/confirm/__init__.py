"""Training the leading configurations again on fresh seeds."""
