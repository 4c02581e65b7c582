"""The test split: opened by one command, every opening recorded."""
