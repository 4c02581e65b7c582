"""What the numbers bear: intervals, paired tests, and which configurations are really better."""
