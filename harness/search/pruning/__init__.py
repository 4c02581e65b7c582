"""Pruning: early stopping of trials that are unlikely to be among the best."""
