"""Search spaces: which settings of a trial may vary, and how. Plain descriptions."""
