"""Example predictions of the leading trials."""
