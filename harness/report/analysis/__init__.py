"""What the trials say: effects, importances, noise, caveats."""
