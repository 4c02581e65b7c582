"""What is in a dataset, what is wrong with it, and a cleaned copy of it."""
