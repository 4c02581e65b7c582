"""From the cache to batches: augmentation, prefetching, normalised arrays."""
