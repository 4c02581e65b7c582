"""Device, precision, memory and timing of training."""
