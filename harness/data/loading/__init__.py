"""Load training data: image cache, augmentation, prefetched batches."""
