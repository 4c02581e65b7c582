"""Images and masks by window, at native size."""
