"""The training loop of one trial: epochs, checkpoints, reports."""
