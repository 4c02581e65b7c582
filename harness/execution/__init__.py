"""Execution of trials: the protocol, the executors and the start of worker processes."""
