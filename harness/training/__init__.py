"""Training of one trial: losses, metrics, optimisation, checkpoints, and the loop itself."""
