"""Training images on the device: copied there once, and augmented there in batches."""
