"""From a folder of images and masks to batches: sources, splits, cache, augmentation, overlays."""
