"""Run of a study: trials, retries, budgets, disk space, stops."""
