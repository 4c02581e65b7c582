"""Decision rules: chosen on validation images, then frozen."""
